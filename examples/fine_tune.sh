#!/bin/sh
# Fine-tune the bundled model on made-up messages to a shop, evaluate it, and run a worker with it:
# the three commands of "Your own model" in README.md. Takes about a minute on two CPU cores.
#
# Needs `pip install "sentq[worker,model,training]"`. With `sentq dev` running and SENTQ_BROKER_URL
# set as it printed:
#
#     $ sh examples/fine_tune.sh ./fine-tuned
#     ...
#     label        score   polar  text
#     shipping     0.992          My parcel is still not here.
#     billing      0.979          You charged my card twice.
#
# Exit codes: 0 success, 2 no folder was named, otherwise that of the command that failed.
set -eu

FOLDER=${1:?"usage: sh examples/fine_tune.sh FOLDER"}
mkdir -p "$FOLDER"
cd "$FOLDER"

# Print one row for each sentence below, with each of the given beginnings.
make_rows() {
    echo "text,label"
    for beginning in "$@"; do
        while IFS='|' read -r label sentence; do
            echo "$beginning $sentence.,$label"
        done <<ROWS
shipping|my parcel has not arrived
shipping|the courier left my box at the wrong address
shipping|the delivery is five days late
shipping|the tracking number does not work
shipping|please send the package to another street
shipping|my order was shipped to the old address
billing|my card was charged twice
billing|the invoice shows the wrong amount
billing|I was billed for a plan that I cancelled
billing|please refund the payment
billing|my bank refused the payment
billing|the receipt has no tax number
ROWS
    done
}
make_rows "Hello" "Good morning" "Dear team" "Hi" > labelled.csv
make_rows "I have a question" > held-out.csv

sentq-worker train labelled.csv --base "${BASE:-$(sentq-worker model --path)}" --out ./my-model \
    --epochs 3 --learning-rate 3e-4 --max-tokens 32 --batch-size 8
sentq-worker evaluate held-out.csv --model ./my-model --html report.html

# Its own queues keep these texts away from the worker of `sentq dev`, which has another model.
export SENTQ_QUEUE=shop-messages SENTQ_BULK_QUEUE=shop-messages.bulk
sentq-worker --model ./my-model > worker.log 2>&1 &
trap 'kill $! && wait $!' EXIT
sentq score --table --timeout 90 "My parcel is still not here." "You charged my card twice."
