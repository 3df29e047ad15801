# The operator. From the locked versions, checked by their hashes; nothing of what builds it is left in it.
#
#   docker build --tag vectorops .
#   docker build --tag vectorops:fastembed --build-arg EXTRAS=fastembed .
#
# What reads sources is always in it. EXTRAS: models that run in the operator: fastembed, sentence-transformers (with torch,
# some gigabytes), or both.
# Where packages come from is for pip's and uv's own variables to say, given with --build-arg.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
ARG EXTRAS=""
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
WORKDIR /src
COPY pyproject.toml ./
COPY requirements/ requirements/
# In /opt/build what installs, in /opt/vectorops what is shipped. A single folder of a virtual environment holds all of it,
# at the same path in both stages.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
        --require-hashes --requirement requirements/build.txt \
    && python -m venv --without-pip /opt/vectorops \
    && VIRTUAL_ENV=/opt/vectorops /opt/build/bin/uv pip install --quiet --no-cache \
        --require-hashes --constraint requirements/lock.txt --requirement pyproject.toml \
        $(for extra in sources ${EXTRAS}; do echo "--extra ${extra}"; done)
COPY README.md LICENSE ./
COPY operator/ operator/
RUN VIRTUAL_ENV=/opt/build /opt/build/bin/uv build --quiet --no-cache --wheel --no-build-isolation --out-dir /dist \
    && VIRTUAL_ENV=/opt/vectorops /opt/build/bin/uv pip install --quiet --no-cache --no-deps /dist/*.whl \
    && rm -f /opt/vectorops/.lock

FROM ${BASE}
ARG EXTRAS=""
ARG VERSION="" REVISION="" CREATED=""
LABEL org.opencontainers.image.title="VectorOps" \
      org.opencontainers.image.description="Qdrant collections, and the points in them, as Kubernetes resources" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Kopf asks for the name of its user, and ends without one. Where the cluster chooses another number (OpenShift), the
# variable answers.
RUN useradd --system --uid 65532 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin vectorops \
    && python -m pip uninstall --quiet --yes --root-user-action=ignore pip
ENV LOGNAME=vectorops \
    HOME=/tmp \
    PATH=/opt/vectorops/bin:$PATH
COPY --from=build /opt/vectorops /opt/vectorops
# The file system of a pod is read-only: what is not compiled here is compiled at each start, and Python's own modules
# come without. Only what the operator imports: all of it would be a hundred megabytes more.
RUN vectorops run --help >/dev/null \
    && python -c 'import vectorops.kube.app, vectorops.kube.orphan, vectorops.qdrant.grpc_points, pydantic.dataclasses' \
    && python -c 'import vectorops.embedders.worker, huggingface_hub.hf_api, multiprocessing.popen_spawn_posix' \
    && python -c 'import pyarrow.parquet, pyarrow.ipc, pyarrow.compute, vectorops.reconcilers.sourced' \
    && python -c 'import anyio; anyio.run(anyio.sleep, 0)' \
    && for extra in ${EXTRAS}; do python -c "import $(echo "${extra}" | tr - _)" || exit 1; done
ENV PYTHONDONTWRITEBYTECODE=1
# By its number, so that a cluster that demands runAsNonRoot sees that it is not 0.
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["vectorops"]
CMD ["run"]
