# The worker, with the bundled model and Flower. From the root of the repository:
#
#   docker build -f docker/worker.Dockerfile -t sentq-worker .
#   docker run -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq-worker
#   docker run --gpus 1 -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq-worker --device cuda
#
# This image runs with and without a GPU, because torch's usual wheels contain CUDA. For CPUs
# alone it is several GB smaller with torch's CPU wheels; see requirements-torch-cpu.txt beside
# this file. A worker that asks the Hub alone needs no torch at all:
#
#   docker build -f docker/worker.Dockerfile -t sentq-worker:hub \
#     --build-arg WORKER_LOCK=docker/requirements-hub.lock \
#     --build-arg TORCH_LOCK=docker/requirements-none.txt \
#     --build-arg DISTRIBUTIONS=. --build-arg LOADED="sentq_worker.app sentq_worker.cli" .
#
# `make images` builds each of them with docker, podman or buildah.
#
# The image has no shell, no package manager and no pip: rootfs.py makes its files. What it contains
# is in /usr/share/sentq/sbom.cdx.json, as CycloneDX JSON.
#
# Packages are installed from requirements-*.lock: pip refuses a file whose SHA-256 sum is not
# there (`make lock` writes them). Build arguments:
#
#   BASE           where Python comes from: anything like Debian that has Python 3.11 or later with
#                  venv. A tag can change; a digest cannot:
#                  --build-arg BASE=python:3.11-slim@sha256:<64 hex digits>
#   WORKER_LOCK    all packages except torch
#   TORCH_LOCK     torch, and what it alone requires
#   DISTRIBUTIONS  what is built from this repository
#   LOADED         the modules that a worker imports: of large packages, only these are compiled
#   PIP_OPTIONS    options of pip, such as --index-url for a mirror
#   SOURCE_COMMIT  what `sentq --version` and the label say:
#                  --build-arg SOURCE_COMMIT=$(git rev-parse HEAD)
#   VERSION        what the label says
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ARG WORKER_LOCK=docker/requirements-worker.lock
ARG TORCH_LOCK=docker/requirements-torch.lock
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt ./
COPY docker/requirements-build.lock build.lock
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${PIP_OPTIONS} --no-deps --require-hashes -r build.lock

# The large packages first: they stay in the build cache until a lock changes. Without
# dependencies, so that a package that is missing from a lock fails `pip check` below.
COPY ${TORCH_LOCK} torch.lock
RUN python -m venv --without-pip /opt/sentq \
 && /opt/build/bin/pip --python /opt/sentq/bin/python install ${PIP_OPTIONS} --no-compile --no-deps \
    -r torch.lock
COPY ${WORKER_LOCK} worker.lock
RUN /opt/build/bin/pip --python /opt/sentq/bin/python install ${PIP_OPTIONS} --no-compile --no-deps \
    --require-hashes -r worker.lock

ARG DISTRIBUTIONS=". ./model"
ARG SOURCE_COMMIT=""
ENV SOURCE_COMMIT=${SOURCE_COMMIT}
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY producer producer
COPY worker worker
COPY model model
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels ${DISTRIBUTIONS}
# By file, not by name, so that no other package named sentq is installed.
RUN /opt/build/bin/pip --python /opt/sentq/bin/python install --no-compile --no-deps /wheels/*.whl \
 && /opt/build/bin/pip --python /opt/sentq/bin/python check

COPY docker/sbom.py docker/rootfs.py docker/
RUN /opt/build/bin/pip install ${PIP_OPTIONS} cyclonedx-bom \
 && mkdir -p /rootfs/usr/share/sentq \
 && /opt/build/bin/python docker/sbom.py /opt/sentq/bin/python /rootfs/usr/share/sentq/sbom.cdx.json \
    torch.lock worker.lock
ARG LOADED="sentq_worker.app sentq_worker.cli sentq_worker.inference.model sentq_worker.inference.loading.with_transformers transformers.models.bert.modeling_bert transformers.models.roberta.modeling_roberta transformers.models.distilbert.modeling_distilbert"
RUN python docker/rootfs.py /opt/sentq /rootfs ${LOADED}


FROM scratch
COPY --from=builder /rootfs /
# /var/cache/sentq belongs to the user, by a fixed id: a volume has the same owner on every machine.
ENV PATH=/opt/sentq/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/cache/sentq \
    XDG_CACHE_HOME=/var/cache/sentq \
    SENTQ_WORKER_NAME=celery@%h \
    SENTQ_WORKER_METRICS_HOST=0.0.0.0 \
    SENTQ_WORKER_METRICS_PORT=9464 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG SOURCE_COMMIT=""
ARG VERSION=""
LABEL org.opencontainers.image.title="sentq-worker" \
      org.opencontainers.image.description="Worker of sentq" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${SOURCE_COMMIT}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001

# Exec form: the worker is process 1 and receives the signal itself. It then finishes its batch,
# for `shutdown_grace_s`; docker stop must wait longer (--stop-timeout, stop_grace_period).
STOPSIGNAL SIGTERM
ENTRYPOINT ["sentq-worker"]

# Metrics for Prometheus (/metrics) and probes (/livez, /readyz). Containers that share the network of
# the host need other ports, or none: -e SENTQ_WORKER_METRICS_PORT=9465.
EXPOSE 9464

# Asks whether a new process would help (/livez), also while the model loads. It says nothing about
# Redis: `sentq-worker health --ready` does.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["sentq-worker", "health"]
