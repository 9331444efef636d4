# The client and its command, without torch: for batch jobs, and as an example for applications.
# From the root of the repository:
#
#   docker build -f docker/producer.Dockerfile -t sentq .
#   docker run -i -e SENTQ_BROKER_URL=redis://queue:6379/0 sentq score - < lines.txt
ARG BASE=python:3.11-slim

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY producer producer
COPY worker worker
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${PIP_OPTIONS} hatchling \
 && /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/sentq \
 && /opt/sentq/bin/pip install ${PIP_OPTIONS} /wheels/sentq-[0-9]*.whl


FROM ${BASE}
RUN groupadd --gid 10001 sentq \
 && useradd --uid 10001 --gid sentq --create-home --shell /usr/sbin/nologin sentq
COPY --from=builder /opt/sentq /opt/sentq
ENV PATH=/opt/sentq/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/sentq
ENTRYPOINT ["sentq"]
CMD ["--help"]
