# The worker, with the bundled model and Flower. From the root of the repository:
#
#   docker build -f docker/worker.Dockerfile -t sentq-worker .
#   docker run -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq-worker
#   docker run --gpus 1 -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq-worker --device cuda
#
# This image runs with and without a GPU, because torch's usual wheels contain CUDA. For CPUs
# alone it is several GB smaller with torch's CPU wheels; see requirements-torch-cpu.txt beside
# this file.
#
# Packages are installed from requirements-*.lock: pip refuses a file whose SHA-256 sum is not
# there (`make lock` writes them). Build arguments:
#
#   BASE         any Debian-like image that has Python 3.11 or later with venv and pip. A tag can
#                change; a digest cannot: --build-arg BASE=python:3.11-slim@sha256:<64 hex digits>
#   WORKER_LOCK  all packages except torch
#   TORCH_LOCK   torch, and what it alone requires
#   PIP_OPTIONS  options of pip, such as --index-url for a mirror
#   SOURCE_COMMIT
#                what `sentq --version` says: --build-arg SOURCE_COMMIT=$(git rev-parse HEAD)
#
# What the image contains, as CycloneDX JSON in sbom.cdx.json:
#
#   docker build -f docker/worker.Dockerfile --target sbom --output . .
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ARG WORKER_LOCK=docker/requirements-worker.lock
ARG TORCH_LOCK=docker/requirements-torch.lock
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
RUN python -m venv /opt/sentq
ENV PATH=/opt/sentq/bin:$PATH

# The large packages first: they stay in the build cache until a lock changes. Without
# dependencies, so that a package that is missing from a lock fails `pip check` below.
COPY constraints.txt ./
COPY ${TORCH_LOCK} torch.lock
RUN pip install ${PIP_OPTIONS} --no-deps -r torch.lock
COPY ${WORKER_LOCK} worker.lock
RUN pip install ${PIP_OPTIONS} --no-deps --require-hashes -r worker.lock

COPY docker/requirements-build.lock build.lock
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${PIP_OPTIONS} --no-deps --require-hashes -r build.lock
ARG SOURCE_COMMIT=""
ENV SOURCE_COMMIT=${SOURCE_COMMIT}
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY producer producer
COPY worker worker
COPY model model
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . ./model
# By file, not by name, so that no other package named sentq is installed.
RUN pip install --no-deps /wheels/*.whl && pip check


FROM builder AS listed
COPY docker/sbom.py docker/requirements-worker.lock docker/requirements-torch.lock docker/
RUN /opt/build/bin/pip install ${PIP_OPTIONS} cyclonedx-bom \
 && /opt/build/bin/python docker/sbom.py /opt/sentq/bin/python /sbom.cdx.json


FROM scratch AS sbom
COPY --from=listed /sbom.cdx.json /


FROM ${BASE}
# A fixed user id, so that a volume has the same owner on every machine.
RUN groupadd --gid 10001 sentq \
 && useradd --uid 10001 --gid sentq --create-home --shell /usr/sbin/nologin sentq \
 && install --directory --owner sentq --group sentq /var/cache/sentq
COPY --from=builder /opt/sentq /opt/sentq
ENV PATH=/opt/sentq/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/cache/sentq \
    XDG_CACHE_HOME=/var/cache/sentq \
    SENTQ_WORKER_NAME=celery@%h \
    SENTQ_WORKER_METRICS_HOST=0.0.0.0 \
    SENTQ_WORKER_METRICS_PORT=9464 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
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
  CMD sentq-worker health
