# Each target sets up by itself what it needs: a virtual environment, and Debian packages where we are root.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Two more than there are cores: many tests wait for a browser, a server or a disk.
JOBS ?= $(shell expr $$(nproc 2>/dev/null || echo 1) + 2)
INSTALL := $(BIN)/python .ci/install.py
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# One of CKAN's versions, in an environment of its own; its tests need what its own developers use.
CKAN ?= 2.11.6
CKAN_VENV ?= .venv-ckan-$(CKAN)
EXTENSION := examples/ckanext-metastore
# A checkout of ckanext-authz-service, which is on no package index: its tokens are shown to the service then.
AUTHZ_SERVICE ?=
# Which of CKAN's own tests run with the extension and without it.
CKAN_TESTS ?= logic/action controllers/test_package.py controllers/test_resource.py

GIFTLESS_VENV := .venv-giftless
# Its Python is the system's, since the user postgres runs it, who may not read a home.
CLUSTER_VENV := .venv-cluster
# What looks at releases; apart, so that it chooses no version for us.
AUDIT_VENV := .venv-audit

.PHONY: help run run-cluster test check coverage lint types unit hostile docs html-docs screenshots wheel audit sbom translations man soak test-all bench constraints clean test-ckan test-ckan-own run-ckan
help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(VENV) --constraint constraints.txt --editable '.[dev]'
	touch $@

.PHONY: debian
debian:  # git and git-lfs are what the tests clone with, strace sees what reaches the disk, postgresql what keeps bundles, nginx and node what stands around the service, chromium what looks at its pages, wrk what loads it, sshd what a mirror is pushed to; make itself is there already; nothing is started (policy-rc.d)
	@missing=''; browser=''; for each in curl git git-lfs nginx strace wrk $(MORE); do command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	test -x /usr/sbin/sshd || missing="$$missing openssh-server"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v chromium-headless-shell >/dev/null || browser='chromium-headless-shell fonts-dejavu-core'; \
	if [ -n "$$missing$$browser" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  policy=/usr/sbin/policy-rc.d; test -e $$policy && policy='' || { printf '#!/bin/sh\nexit 101\n' >$$policy && chmod +x $$policy; }; \
	  apt-get update -qq; apt-cache show chromium-headless-shell >/dev/null 2>&1 || { \
	    command -v chromium >/dev/null && browser='' || browser='chromium fonts-dejavu-core'; }; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing $$browser >/dev/null; code=$$?; \
	  rm -f $$policy; exit $$code; \
	fi

run: $(READY) debian  ## see it work: store, revise, compare, revert and clone real data packages; keep bundles; serve
	$(BIN)/python examples/tour.py
	$(BIN)/python examples/bundles.py
	$(BIN)/python examples/serve.py $(if $(filter postgres,$(STORE)),--postgres)

run-cluster: $(READY) debian cluster  ## three nodes of PostgreSQL and two services; kill the primary under load, and count what is lost
	$(BIN)/python -m tests.show_cluster

test:  ## everything that has to hold; says how long it took
	@start=$$(date +%s); $(MAKE) --no-print-directory -j2 unit others; code=$$?; \
	took=$$(($$(date +%s) - start)); test $$took -lt 360 && below=below || below='NOT below'; \
	echo "make test took $$((took / 60)) min $$((took % 60)) s, $$below six minutes"; exit $$code

.PHONY: others
others: $(READY)  # all but the unit tests, one by one: as goals of their own they would all come before the longest one
	@$(MAKE) --no-print-directory -j1 lint types wheel docs hostile DOCS='--tag check'

check: lint types  ## the minute-by-minute loop: lint, types, and the fast half of the tests
	$(PYTEST) -q -m 'not soak and not slow'

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

.PHONY: giftless
giftless: $(READY)  # an LFS server that others wrote; without it the tests that serve data with it are skipped, and say so
	@test -e $(GIFTLESS_VENV)/ready || { $(PYTHON) -m venv --without-pip $(GIFTLESS_VENV) && \
	  $(INSTALL) $(GIFTLESS_VENV) --requirement tests/giftless.txt && touch $(GIFTLESS_VENV)/ready; } || \
	  echo 'giftless cannot be installed'

.PHONY: cluster
cluster: $(READY) debian  ## what the tests of a cluster need beside PostgreSQL: etcd from Debian, Patroni from PyPI
	@test -e $(CLUSTER_VENV)/ready || { /usr/bin/python3 -m venv --without-pip $(CLUSTER_VENV) && \
	  $(INSTALL) $(CLUSTER_VENV) 'patroni[etcd3,psycopg3]>=4.1,<5' && cd $(CLUSTER_VENV) && \
	  { command -v etcd >/dev/null || { apt-get update -qq; apt-get download -qq etcd-server && dpkg -x etcd-server_*.deb .; }; } && \
	  touch ready; } || echo 'etcd and Patroni cannot be installed: the tests of a cluster are skipped'

# What is imported by the tests is compiled by one process here, and not by each of those that run them. It calls
# nothing a test, since to list them takes a third of the time.
$(VENV)/compiled: $(READY)
	$(BIN)/python -m pytest -qq --collect-only -o python_functions=none -o python_classes=none >/dev/null || test $$? = 5
	touch $@

unit: $(READY) debian giftless $(VENV)/compiled
	$(PYTEST) -m 'not soak'

hostile: $(READY) debian  ## the examples and a part of the tests where Git, locale, clock and user are unusual
	$(BIN)/python -m tests.hostile

coverage: $(READY) debian giftless  ## the tests again, counting the lines and branches that they run
	rm -f .coverage .coverage.*
	$(PYTEST) -m 'not soak' --cov --cov-report=term:skip-covered

docs html-docs: $(READY)  ## the documentation, in docs/_build/html
	$(BIN)/sphinx-build --quiet --fail-on-warning --nitpicky $(DOCS) docs docs/_build/html
	@echo 'documentation: docs/_build/html/index.html'

# Only the page that it is made of is read: that takes a third of the time.
translations: $(READY)  ## collect the strings of the pages for their catalogues, and compile these
	$(BIN)/python -m tests.translations

man: $(READY)  ## the manual page of the command line, docs/_build/man/metastore.1
	$(BIN)/sphinx-build --quiet --builder man -D root_doc=reference/cli \
	  -D 'exclude_patterns=_build,explanation/*,howto/*,tutorial.md,index.md,reference/[!c]*,reference/ckan.md' \
	  docs docs/_build/man
	$(BIN)/python -m tests.manual_page docs/_build/man/metastore.1

screenshots: $(READY) debian  ## the pictures of the pages, as they are now
	$(BIN)/python docs/screenshots.py

wheel: $(READY) man  # what users install is the wheel, bare of extras
	rm -rf build dist $(VENV)-wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(PYTHON) -m venv --without-pip --clear $(VENV)-wheel
	$(INSTALL) $(VENV)-wheel --constraint constraints.txt dist/*.whl
	cd $(VENV)-wheel && bin/python ../tests/bare_install.py

$(AUDIT_VENV)/ready: | $(READY)
	$(PYTHON) -m venv --without-pip $(AUDIT_VENV)
	$(INSTALL) $(AUDIT_VENV) 'pip-audit>=2.7' 'cyclonedx-bom>=5'
	touch $@

audit: $(READY) $(AUDIT_VENV)/ready  ## look for known vulnerabilities in what we build on; needs the JSON API of PyPI
	$(BIN)/python -m tests.audit $(AUDIT_VENV)/bin/pip-audit constraints.txt

sbom: wheel $(AUDIT_VENV)/ready  ## the wheel, and what a full installation of it consists of (CycloneDX), in dist
	$(PYTHON) -m venv --without-pip --clear $(VENV)-release
	$(INSTALL) $(VENV)-release --constraint constraints.txt "$$(echo dist/*.whl)[all]"
	$(AUDIT_VENV)/bin/cyclonedx-py environment --output-reproducible \
	  --output-file "$$(echo dist/*.whl | sed 's/-py3.*/.cdx.json/')" $(VENV)-release

$(CKAN_VENV)/ready: pyproject.toml
	@echo 'Installing CKAN $(CKAN) in $(CKAN_VENV), once: some minutes …'
	$(PYTHON) -m venv $(CKAN_VENV)
	$(CKAN_VENV)/bin/pip install --quiet 'ckan[requirements]==$(CKAN)' 'pytest<9' pytest-factoryboy responses beautifulsoup4 pytest-timeout freezegun uwsgi
	# Apart, since ckanext-xloader asks for a newer urllib3 than the one that CKAN pins.
	$(CKAN_VENV)/bin/pip install --quiet 'ckanext-scheming==3.1.*' 'ckanext-dcat==2.4.*' 'ckanext-harvest==1.6.*' 'ckanext-xloader==2.6.*'
	$(CKAN_VENV)/bin/pip install --quiet --editable '.[client]' 'pyjwt[crypto]'
	touch $@

.PHONY: ckanext
ckanext: MORE := redis-server
ckanext: $(READY) $(CKAN_VENV)/ready debian
	$(CKAN_VENV)/bin/pip install --quiet --no-deps --force-reinstall ./$(EXTENSION)
	rm -rf $(EXTENSION)/build $(EXTENSION)/*.egg-info

test-ckan: ckanext  ## the extension in a real CKAN (CKAN=2.12.0 for another one)
	$(BIN)/python -m tests.ckan.portal --ckan $(CKAN_VENV)/bin -- $(CKAN_VENV)/bin/python -m pytest --ckan-ini {ini} \
	  -c $(EXTENSION)/tests/pytest.ini $(EXTENSION)/tests
	CKAN_PROGRAMS=$(CKAN_VENV)/bin AUTHZ_SERVICE='$(AUTHZ_SERVICE)' $(BIN)/python -m pytest -n 0 --timeout 1800 tests/ckan/served.py \
	  tests/ckan/served_with_service.py tests/ckan/served_beside.py tests/ckan/served_by_uwsgi.py tests/ckan/browsed.py $(if $(AUTHZ_SERVICE),tests/ckan/served_with_authz.py)

test-ckan-own: ckanext  ## CKAN's own tests of packages, with the extension and without it; goes on after an interruption
	mkdir -p build; for plugins in '' metastore; do \
	  outcomes=build/ckan-own-$(CKAN)-$$plugins; \
	  $(BIN)/python -m tests.ckan.portal --ckan $(CKAN_VENV)/bin --plugins "$$plugins" -- env PYTHONPATH=tests/ckan OUTCOMES=$$outcomes \
	    $(CKAN_VENV)/bin/python -m pytest --ckan-ini {ini} -c $(EXTENSION)/tests/pytest.ini -p own -q -rfE \
	    $(addprefix $(CKAN_VENV)/lib/python3.*/site-packages/ckan/tests/,$(CKAN_TESTS)); \
	  test $$? != 2 && sort -o $$outcomes $$outcomes || exit; done
	cd build; grep -q '^passed' ckan-own-$(CKAN)- && diff ckan-own-$(CKAN)- ckan-own-$(CKAN)-metastore && \
	  rm ckan-own-$(CKAN)-* && echo 'The outcomes are the same without the extension.'

run-ckan: ckanext  ## a CKAN with the extension on sample data, until Ctrl-C
	$(BIN)/python -m tests.ckan.portal --ckan $(CKAN_VENV)/bin

soak: MORE := pgbouncer
soak: $(READY) debian giftless cluster  ## the long versions of the tests
	METASTORE_SOAK=1 $(PYTEST) --timeout 3600

# Test tools first, in their usual versions: the second step moves only what the product itself builds on.
PACKAGES_VENV := $(VENV)-packages
PACKAGES_TESTS := $(addprefix tests/,packages.py $(addsuffix .py,$(addprefix test_,habits beside_frictionless describe cli_lists validation)))
.PHONY: test-packages
test-packages: $(READY)  ## the oldest versions of frictionless, datapackage, dplib and our dependencies, then the newest
	@for which in lowest-direct highest; do \
	  $(PYTHON) -m venv --without-pip --clear $(PACKAGES_VENV) && \
	  $(INSTALL) $(PACKAGES_VENV) --constraint constraints.txt --editable '.[dev]' && \
	  $(INSTALL) $(PACKAGES_VENV) --upgrade --resolution $$which --editable '.[packages]' 'pandas>=2.2' 'polars>=1' && \
	  $(PACKAGES_VENV)/bin/python -m pytest -q -p no:schemathesis -m 'not soak' $(PACKAGES_TESTS) || exit 1; \
	done; rm -rf $(PACKAGES_VENV)

test-all:  ## the tests on every supported Python that is installed
	for version in 3.11 3.12 3.13; do \
	  python$$version -c '' 2>/dev/null || { echo "python$$version is not installed: passed over"; continue; }; \
	  $(MAKE) PYTHON=python$$version VENV=.venv-$$version types unit wheel || exit 1; \
	done

bench: $(READY) debian  ## measure against raw libgit2, plain files, plain SQL, an empty Flask route and metastore-lib
	$(BIN)/python benchmarks/run.py

constraints: $(READY)  ## choose newer versions of what we build on
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
	  --no-emit-find-links --upgrade --extra dev pyproject.toml --output-file constraints.txt

clean:
	rm -rf .venv .venv-* build dist docs/_build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
