#!/bin/sh
# From the data folder to the bundled model's files, in about an hour on one core with bfloat16.
#
#     sh model/recipe/train.sh DATA BODY OUT
#
# DATA holds the files named below; BODY is the folder of all-MiniLM-L6-v2 with its tokenizer.json.
# Killed, it goes on where it was when given the same command.
set -eu
data=$1 body=$2 out=$3
recipe=$(dirname "$0")
made=$out.made

python "$recipe/base.py" "$body" "$made/base"
python "$recipe/statements.py" "$made/statements.jsonl.gz"
python "$recipe/sentences.py" "$data/sst5_phrases_train.jsonl.gz" "$made/sst5_sentences.jsonl.gz"

exec sentq-worker train \
  "$data/sst2_train.jsonl.gz@0.6" \
  "$data/sst5_phrases_train.jsonl.gz@0.6" \
  "$made/sst5_sentences.jsonl.gz" \
  "$data/semeval_tweets_train.jsonl.gz@0.75" \
  "$data/tse_tweets_train.jsonl.gz@0.7" \
  "$data/goemotions_train.jsonl.gz@0.7" \
  "$data/mds_reviews_train.jsonl.gz@0.9" \
  "$data/cad_imdb_train.jsonl.gz" \
  "$data/imdb_train.jsonl.gz@0.35" \
  "$made/statements.jsonl.gz@0.5" \
  --where split=train \
  --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
  --valid "$data/semeval_tweets_valid.jsonl.gz" --valid "$data/goemotions_valid.jsonl.gz" \
  --valid-where split=valid \
  --hold-out imdb_train.jsonl.gz --hold-out mds_reviews_train.jsonl.gz \
  --base "$made/base" --base-name all-MiniLM-L6-v2 \
  --name sentq-english --licence apache-2.0 \
  --epochs 2 --batch-size 64 --learning-rate 1.2e-4 --max-tokens 192 \
  --dropout 0 --attention-dropout 0 --threads 1 --out "$out"
