BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo serve test check docs docs-tools chromium clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: ## Install the pinned CPU stack into .venv; does nothing when it is there
	@sh scripts/install.sh

demo: install ## Train Captain Blackwood on two CPU cores and measure him; resumes where it stopped
	$(BIN)/python jobs/full_pipeline.py jobs/recipes/demo-cpu.yaml

serve: install ## Serve the demo's persona behind an OpenAI-compatible API
	$(BIN)/character-ray serve runs/demo

test: install chromium ## Run every test that needs no GPU (an hour on two cores)
	$(BIN)/python -m pytest --durations=40

check: install docs-tools ## Lint, formatting, types, and the site without a broken link
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs: install docs-tools ## Build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html"

docs-tools: install
	@cmp -s requirements/docs.lock $(BIN)/../.docs || { \
		python=$(BIN)/python; $$python -m pip --version >/dev/null 2>&1 && set -- $$python -m pip || set -- python3.11 -m pip --python $$python; \
		"$$@" install -q --no-deps -r requirements/docs.lock && cp requirements/docs.lock $(BIN)/../.docs; }

chromium:
	@sh scripts/chromium.sh

clean: ## Remove build and cache files; runs/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . \( -path ./.venv -o -path ./runs -o -path ./.git \) -prune -o -type d -name __pycache__ -exec rm -rf {} +
