#!/bin/sh
# Make the files of the bundled model from the data: three trainings of one base and their mean, two trainings of this
# mean on rows of all kinds, and the mean of all three. This takes over four hours on one core with bfloat16.
#
#     sh model/recipe/train.sh DATA BODY OUT
#
# DATA holds the files named below; BODY is the folder of all-MiniLM-L6-v2 with its tokenizer.json; OUT gets
# the folders of the trainings, `mean`, and `model`, the weights of sentq_model. After a kill, the same command resumes.
#
# To make only the last two trainings, put the files of the mean into OUT/mean, and the record of the first training
# into OUT/first/training.json: BODY is not read then.
set -eu
data=$1 body=$2 out=$3
recipe=$(dirname "$0")
made=$out/made
mkdir -p "$made"

# A finished training is not repeated.
trained() { [ -e "$out/$1/model.safetensors" ] && [ ! -e "$out/$1/checkpoint" ]; }

if [ ! -e "$out/mean/model.safetensors" ]; then
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

  # from_base NAME MAX_TOKENS SOURCE...: a training of the prepared base with the options of the second and the third.
  from_base() {
    name=$1 max_tokens=$2
    shift 2
    trained "$name" || sentq-worker train "$@" \
      --where split=train \
      --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
      --valid "$data/semeval_tweets_valid.jsonl.gz" --valid "$data/goemotions_valid.jsonl.gz" \
      --valid-where split=valid \
      --hold-out imdb_train.jsonl.gz --hold-out mds_reviews_train.jsonl.gz \
      --base "$made/base" --base-name all-MiniLM-L6-v2 --name sentq-english --licence apache-2.0 \
      --epochs 2 --batch-size 64 --learning-rate 1.5e-4 --max-tokens "$max_tokens" \
      --dropout 0.1 --attention-dropout 0 --threads 1 --out "$out/$name"
  }

  from_base second 160 \
    "$data/sst2_train.jsonl.gz@0.8" \
    "$data/sst5_phrases_train.jsonl.gz@0.5" \
    "$made/sst5_sentences.jsonl.gz" \
    "$data/semeval_tweets_train.jsonl.gz@0.75" \
    "$data/tse_tweets_train.jsonl.gz@0.7" \
    "$data/goemotions_train.jsonl.gz@0.6" \
    "$data/mds_reviews_train.jsonl.gz@0.9" \
    "$data/cad_imdb_train.jsonl.gz" \
    "$data/imdb_train.jsonl.gz@0.3" \
    "$made/statements.jsonl.gz@0.5"

  from_base third 192 \
    "$data/sst2_train.jsonl.gz@0.6" \
    "$data/sst5_phrases_train.jsonl.gz@0.25" \
    "$made/sst5_sentences.jsonl.gz" \
    "$data/semeval_tweets_train.jsonl.gz@0.75" \
    "$data/tse_tweets_train.jsonl.gz@0.5" \
    "$data/goemotions_train.jsonl.gz@0.4" \
    "$data/mds_reviews_train.jsonl.gz@0.9" \
    "$data/cad_imdb_train.jsonl.gz" \
    "$data/imdb_train.jsonl.gz@0.25" \
    "$made/statements.jsonl.gz@0.3"

  python "$recipe/unseen.py" "$data" "$out/first/training.json" "$made/unseen_imdb.jsonl.gz"
  python "$recipe/sentences.py" "$data/sst5_phrases_train.jsonl.gz" "$made/sst5_sentences_valid.jsonl.gz" valid
  python "$recipe/average.py" "$out/first@0.15" "$out/second@0.35" "$out/third@0.5" --out "$out/mean" \
    --lift neutral --threads 1 \
    --valid "$data/sst2_train.jsonl.gz" --valid "$data/sst5_phrases_train.jsonl.gz" \
    --valid "$made/sst5_sentences_valid.jsonl.gz" --valid "$data/semeval_tweets_valid.jsonl.gz" \
    --valid "$data/goemotions_valid.jsonl.gz" --valid "$made/unseen_imdb.jsonl.gz" --valid-where split=valid
fi

# From here on, OUT/made/aside has rows that no training sees, by kind of text.
python "$recipe/aside.py" "$data" "$made"
python "$recipe/unseen.py" "$data" "$out/first/training.json" "$made/aside/film_reviews.jsonl.gz"
python "$recipe/statements.py" "$made/train/statements.jsonl.gz"
python "$recipe/more_statements.py" "$made/train/more_statements.jsonl.gz" train
python "$recipe/more_statements.py" "$made/aside" aside

# What the mean knows of each kind, a training shall keep: its scores have a part in the labels. Of kinds that the first
# three trainings did not have, they only say where readers may disagree.
rows=$made/train soft=$made/soft
[ -d "$soft" ] || {
  python "$recipe/distil.py" "$out/mean" "$soft.partial" \
    "$rows/everyday.jsonl.gz=0.85" \
    "$rows/adversarial.jsonl.gz=0.85" \
    "$rows/product_sentences.jsonl.gz=0.85" \
    "$rows/clothing.jsonl.gz=0.85" \
    "$rows/contrast_reviews.jsonl.gz@0.2=0.7" \
    "$rows/product_reviews.jsonl.gz@0.12=0.7" \
    "$rows/film_reviews.jsonl.gz@0.08=0.7" \
    "$rows/film_phrases.jsonl.gz@0.22=0.5" \
    "$rows/film_fragments.jsonl.gz@0.08=0.5" \
    "$rows/film_sentences.jsonl.gz@0.75=0.7" \
    "$rows/tweets.jsonl.gz@0.3=0.5" \
    "$rows/more_tweets.jsonl.gz@0.12=0.5" \
    "$rows/comments.jsonl.gz@0.2=0.4"
  mv "$soft.partial" "$soft"
}

# from_mean NAME SEED LEARNING_RATE: a training of the mean on rows of all kinds.
from_mean() {
  trained "$1" || sentq-worker train \
    "$soft/everyday.jsonl.gz@2" \
    "$soft/adversarial.jsonl.gz@3" \
    "$soft/product_sentences.jsonl.gz" \
    "$soft/clothing.jsonl.gz@2" \
    "$soft/contrast_reviews.jsonl.gz" \
    "$soft/product_reviews.jsonl.gz" \
    "$soft/film_reviews.jsonl.gz" \
    "$soft/film_phrases.jsonl.gz" \
    "$soft/film_fragments.jsonl.gz" \
    "$soft/film_sentences.jsonl.gz" \
    "$soft/tweets.jsonl.gz" \
    "$soft/more_tweets.jsonl.gz" \
    "$soft/comments.jsonl.gz" \
    "$rows/statements.jsonl.gz@0.15" \
    "$rows/more_statements.jsonl.gz@0.5" \
    --scores-field scores \
    --valid "$made/aside/everyday.jsonl.gz" --valid "$made/aside/film_sentences.jsonl.gz" \
    --base "$out/mean" --base-name sentq-english --name sentq-english --licence apache-2.0 \
    --epochs 1 --batch-size 32 --learning-rate "$3" --max-tokens 128 --dropout 0.1 --attention-dropout 0 \
    --no-calibrate --save-dtype float32 --threads 1 --seed "$2" --out "$out/$1"
}
from_mean fourth 4 6e-5
from_mean fifth 5 1e-4

# The biases were chosen so that reviews of films and products lose nothing.
#
# Rows that a training has seen, rows that were written to deceive a model, and rows made from patterns must not set
# the scores of ordinary texts.
set --
for file in "$made"/aside/*.jsonl.gz; do
  case $file in
    */contrast_reviews.* | */product_reviews.* | */adversarial.* | */statements_*) set -- "$@" --measure "$file" ;;
    *) set -- "$@" --valid "$file" ;;
  esac
done
python "$recipe/average.py" "$out/mean@0.45" "$out/fourth@0.15" "$out/fifth@0.4" --out "$out/model" --threads 1 \
  --bias negative=0.1 --bias neutral=0.1 "$@"
