# The client and its command, without torch: for batch jobs, and as an example for applications.
# From the root of the repository:
#
#   docker build -f docker/producer.Dockerfile -t sentq .
#   docker run -i -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq score - < lines.txt
#
# Packages are installed from requirements-producer.lock: pip refuses a file whose SHA-256 sum is
# not there. Build arguments:
#
#   BASE           a tag can change; a digest cannot:
#                  --build-arg BASE=python:3.11-slim@sha256:<64 hex digits>
#   PRODUCER_LOCK  all packages
#   SOURCE_COMMIT  what `sentq --version` says: --build-arg SOURCE_COMMIT=$(git rev-parse HEAD)
#   PIP_OPTIONS    options of pip, such as --index-url for a mirror
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ARG PRODUCER_LOCK=docker/requirements-producer.lock
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt ./
COPY ${PRODUCER_LOCK} producer.lock
RUN python -m venv /opt/sentq \
 && /opt/sentq/bin/pip install ${PIP_OPTIONS} --no-deps --require-hashes -r producer.lock

COPY docker/requirements-build.lock build.lock
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${PIP_OPTIONS} --no-deps --require-hashes -r build.lock
ARG SOURCE_COMMIT=""
ENV SOURCE_COMMIT=${SOURCE_COMMIT}
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY producer producer
COPY worker worker
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .
RUN /opt/sentq/bin/pip install --no-deps /wheels/*.whl && /opt/sentq/bin/pip check


FROM ${BASE}
RUN groupadd --gid 10001 sentq \
 && useradd --uid 10001 --gid sentq --create-home --shell /usr/sbin/nologin sentq
COPY --from=builder /opt/sentq /opt/sentq
ENV PATH=/opt/sentq/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/sentq
ENTRYPOINT ["sentq"]
CMD ["--help"]
