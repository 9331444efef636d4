# The client, its command, the gateway, the exporter and what delivers webhooks, without torch: for
# batch jobs, for serving, and as an example for applications. From the root of the repository:
#
#   docker build -f docker/producer.Dockerfile -t sentq .
#   docker run -i -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq score - < lines.txt
#   docker run -p 8200:8200 -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq gateway --host 0.0.0.0
#
# The image has no shell, no package manager and no pip: rootfs.py makes its files. What it contains
# is in /usr/share/sentq/sbom.cdx.json.
#
# Packages are installed from requirements-producer.lock: pip refuses a file whose SHA-256 sum is
# not there. Build arguments:
#
#   BASE           where Python comes from: anything like Debian that has Python 3.11 or later with
#                  venv. A tag can change; a digest cannot:
#                  --build-arg BASE=python:3.11-slim@sha256:<64 hex digits>
#   PRODUCER_LOCK  all packages
#   SOURCE_COMMIT  what `sentq --version` and the label say:
#                  --build-arg SOURCE_COMMIT=$(git rev-parse HEAD)
#   VERSION        what the label says
#   PIP_OPTIONS    options of pip, such as --index-url for a mirror
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ARG PRODUCER_LOCK=docker/requirements-producer.lock
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt ./
COPY docker/requirements-build.lock build.lock
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${PIP_OPTIONS} --no-deps --require-hashes -r build.lock
COPY ${PRODUCER_LOCK} packages.lock
RUN python -m venv --without-pip /opt/sentq \
 && /opt/build/bin/pip --python /opt/sentq/bin/python install ${PIP_OPTIONS} --no-compile --no-deps \
    --require-hashes -r packages.lock

ARG SOURCE_COMMIT=""
ENV SOURCE_COMMIT=${SOURCE_COMMIT}
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY producer producer
COPY worker worker
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .
RUN /opt/build/bin/pip --python /opt/sentq/bin/python install --no-compile --no-deps /wheels/*.whl \
 && /opt/build/bin/pip --python /opt/sentq/bin/python check

COPY docker/sbom.py docker/rootfs.py docker/
RUN /opt/build/bin/pip install ${PIP_OPTIONS} cyclonedx-bom \
 && mkdir -p /rootfs/usr/share/sentq \
 && /opt/build/bin/python docker/sbom.py /opt/sentq/bin/python /rootfs/usr/share/sentq/sbom.cdx.json packages.lock
RUN python docker/rootfs.py /opt/sentq /rootfs sentq.cli sentq.gateway.server sentq.exporter.pages \
    sentq.webhooks.delivery


FROM scratch
COPY --from=builder /rootfs /
ENV PATH=/opt/sentq/bin PYTHONUNBUFFERED=1 LANG=C.UTF-8
ARG SOURCE_COMMIT=""
ARG VERSION=""
LABEL org.opencontainers.image.title="sentq" \
      org.opencontainers.image.description="Client, gateway and exporter of sentq" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${SOURCE_COMMIT}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /home/sentq
STOPSIGNAL SIGTERM
ENTRYPOINT ["sentq"]
CMD ["--help"]
