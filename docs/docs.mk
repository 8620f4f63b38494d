# `make docs`: a part of the Makefile that goes with this folder.
.PHONY: docs

docs: .venv/installed-dev  ## build these pages into a site, build/docs/index.html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs
	@echo "open build/docs/index.html"
