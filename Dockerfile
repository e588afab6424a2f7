# One image for every process of Etalon: API, orchestrator, drivers and Ray nodes.
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 ETALON_HOME=/var/lib/etalon
WORKDIR /opt/etalon

COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --requirement requirements.lock

COPY api api
COPY etalon etalon
COPY migrations migrations
COPY orchestrator orchestrator
COPY trainer trainer
COPY workers workers
# Editable, so that api, workers, trainer and migrations are found by every process and by Ray.
RUN pip install --no-deps --editable . \
    && useradd --system --create-home --home-dir /var/lib/etalon etalon \
    && chmod 0700 /var/lib/etalon \
    && install --directory --mode 0700 --owner etalon --group etalon /var/lib/etalon/checkpoints \
    && install --directory --mode 0700 --owner etalon --group etalon /var/lib/etalon/corpora
USER etalon
EXPOSE 8765
CMD ["etalon", "--help"]
