# The worker, with the bundled model and Flower. From the root of the repository:
#
#   docker build -f docker/worker.Dockerfile -t sentq-worker .
#   docker run -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq-worker
#   docker run --gpus 1 -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq-worker --device cuda
#
# This image runs with and without a GPU, because torch's usual wheels contain CUDA. For CPUs
# alone it is several GB smaller with torch's CPU wheels:
#
#   --build-arg PIP_OPTIONS="--index-url <the index of torch's CPU wheels> --extra-index-url <yours>"
#
# BASE may be any Debian-like image that has Python 3.11 or later with venv and pip.
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
RUN python -m venv /opt/sentq
ENV PATH=/opt/sentq/bin:$PATH

# The large packages first: they stay in the build cache until constraints.txt changes.
COPY constraints.txt ./
RUN pip install ${PIP_OPTIONS} torch transformers

COPY pyproject.toml README.md LICENSE ./
COPY producer producer
COPY worker worker
COPY model model
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${PIP_OPTIONS} hatchling \
 && /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . ./model
# By file, not by name, so that no other package named sentq is installed.
RUN set -- /wheels/sentq-[0-9]*.whl \
 && pip install ${PIP_OPTIONS} "$1[worker,flower]" /wheels/sentq_model-[0-9]*.whl


FROM ${BASE}
# A fixed user id, so that a volume has the same owner on every machine.
RUN groupadd --gid 10001 sentq \
 && useradd --uid 10001 --gid sentq --create-home --shell /usr/sbin/nologin sentq \
 && install --directory --owner sentq --group sentq /var/cache/sentq
COPY --from=builder /opt/sentq /opt/sentq
ENV PATH=/opt/sentq/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/cache/sentq \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001

# Exec form: the worker is process 1 and receives the signal itself. It then finishes its batch,
# for `shutdown_grace_s`; docker stop must wait longer (--stop-timeout, stop_grace_period).
STOPSIGNAL SIGTERM
ENTRYPOINT ["sentq-worker"]

# Checks through Redis whether the worker's loop replies; loading a model may take minutes at first.
# A worker with another name needs another check.
HEALTHCHECK --interval=60s --timeout=20s --start-period=300s --retries=3 \
  CMD celery -A sentq_worker inspect ping --timeout 5 --destination "celery@$HOSTNAME"
