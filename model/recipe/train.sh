#!/bin/sh
# Make the files of the bundled model from the data: three trainings of one base, and their mean. This takes
# about four hours on one core with bfloat16.
#
#     sh model/recipe/train.sh DATA BODY OUT
#
# DATA holds the files named below; BODY is the folder of all-MiniLM-L6-v2 with its tokenizer.json; OUT gets
# the folders `first`, `second`, `third` and `model`. After a kill, the same command resumes.
set -eu
data=$1 body=$2 out=$3
recipe=$(dirname "$0")
made=$out/made
mkdir -p "$made"

# A finished training is not repeated.
trained() { [ -e "$out/$1/model.safetensors" ] && [ ! -e "$out/$1/checkpoint" ]; }

trained first || sentq-worker train \
  "$data/sst2_train.jsonl.gz" \
  "$data/sst5_phrases_train.jsonl.gz@0.25" \
  "$data/semeval_tweets_train.jsonl.gz@0.8" \
  "$data/tse_tweets_train.jsonl.gz@0.8" \
  "$data/goemotions_train.jsonl.gz@0.5" \
  "$data/mds_reviews_train.jsonl.gz@0.7" \
  "$data/cad_imdb_train.jsonl.gz@0.7" \
  "$data/imdb_train.jsonl.gz@0.12" \
  --where split=train \
  --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
  --valid "$data/semeval_tweets_valid.jsonl.gz" --valid "$data/goemotions_valid.jsonl.gz" \
  --valid-where split=valid \
  --base "$body" --base-name all-MiniLM-L6-v2 --name sentq-english --licence apache-2.0 \
  --epochs 2 --batch-size 64 --learning-rate 1.5e-4 --schedule linear --average 0 --max-tokens 128 \
  --attention-dropout 0 --no-calibrate --threads 1 --out "$out/first"

python "$recipe/base.py" "$body" "$made/base"
python "$recipe/statements.py" "$made/statements.jsonl.gz"
python "$recipe/sentences.py" "$data/sst5_phrases_train.jsonl.gz" "$made/sst5_sentences.jsonl.gz"

trained second || sentq-worker train \
  "$data/sst2_train.jsonl.gz@0.8" \
  "$data/sst5_phrases_train.jsonl.gz@0.5" \
  "$made/sst5_sentences.jsonl.gz" \
  "$data/semeval_tweets_train.jsonl.gz@0.75" \
  "$data/tse_tweets_train.jsonl.gz@0.7" \
  "$data/goemotions_train.jsonl.gz@0.6" \
  "$data/mds_reviews_train.jsonl.gz@0.9" \
  "$data/cad_imdb_train.jsonl.gz" \
  "$data/imdb_train.jsonl.gz@0.3" \
  "$made/statements.jsonl.gz@0.5" \
  --where split=train \
  --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
  --valid "$data/semeval_tweets_valid.jsonl.gz" --valid "$data/goemotions_valid.jsonl.gz" \
  --valid-where split=valid \
  --hold-out imdb_train.jsonl.gz --hold-out mds_reviews_train.jsonl.gz \
  --base "$made/base" --base-name all-MiniLM-L6-v2 --name sentq-english --licence apache-2.0 \
  --epochs 2 --batch-size 64 --learning-rate 1.5e-4 --max-tokens 160 \
  --dropout 0.1 --attention-dropout 0 --threads 1 --out "$out/second"

trained third || sentq-worker train \
  "$data/sst2_train.jsonl.gz@0.6" \
  "$data/sst5_phrases_train.jsonl.gz@0.25" \
  "$made/sst5_sentences.jsonl.gz" \
  "$data/semeval_tweets_train.jsonl.gz@0.75" \
  "$data/tse_tweets_train.jsonl.gz@0.5" \
  "$data/goemotions_train.jsonl.gz@0.4" \
  "$data/mds_reviews_train.jsonl.gz@0.9" \
  "$data/cad_imdb_train.jsonl.gz" \
  "$data/imdb_train.jsonl.gz@0.25" \
  "$made/statements.jsonl.gz@0.3" \
  --where split=train \
  --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
  --valid "$data/semeval_tweets_valid.jsonl.gz" --valid "$data/goemotions_valid.jsonl.gz" \
  --valid-where split=valid \
  --hold-out imdb_train.jsonl.gz --hold-out mds_reviews_train.jsonl.gz \
  --base "$made/base" --base-name all-MiniLM-L6-v2 --name sentq-english --licence apache-2.0 \
  --epochs 2 --batch-size 64 --learning-rate 1.5e-4 --max-tokens 192 \
  --dropout 0.1 --attention-dropout 0 --threads 1 --out "$out/third"

python "$recipe/unseen.py" "$data" "$out/first/training.json" "$made/unseen_imdb.jsonl.gz"
python "$recipe/sentences.py" "$data/sst5_phrases_train.jsonl.gz" "$made/sst5_sentences_valid.jsonl.gz" valid
python "$recipe/average.py" "$out/first@0.15" "$out/second@0.35" "$out/third@0.5" --out "$out/model" \
  --lift neutral --threads 1 \
  --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
  --valid "$made/sst5_sentences_valid.jsonl.gz" --valid "$data/semeval_tweets_valid.jsonl.gz" \
  --valid "$data/goemotions_valid.jsonl.gz" --valid "$made/unseen_imdb.jsonl.gz" --valid-where split=valid
