# The few commands of the course. Everything is installed into .venv, nothing outside this folder.
PYTHON ?= python3
TORCH_INDEX ?=
export TORCH_INDEX
VENV := .venv/bin/python
test soak lessons: export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help env course fresh app test bench soak lessons map export check-nbdev3 clean

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

env:
	@$(PYTHON) .ci/setup.py env

course:  ## set everything up and open the course in JupyterLab (OPEN=no: do not open)
	@$(PYTHON) .ci/setup.py course $(if $(filter no,$(OPEN)),--no-open)

fresh:  ## give the original lessons back; what you changed is kept in course/_mine
	@$(PYTHON) .ci/setup.py fresh

app: env  ## the editor as a page in your browser
	$(VENV) -m expr_course.editor.page

test: env  ## set everything up and run all tests (ARGS="-k word" for some)
	$(VENV) -m pytest -n 2 --dist worksteal $(ARGS)

bench: env  ## measure speed: faces per second
	$(VENV) -m pytest tests/benchmarks -o python_files='bench_*.py' -q -s $(ARGS)

soak: env  ## the tests on varied and damaged input again, with many more cases
	EXPR_SOAK=1 $(VENV) -m pytest -n 2 -m "not lesson and not browser" --timeout 3600 $(ARGS)

lessons: env  ## run lessons and store their cleaned outputs (LESSONS="01_action_units", EXPR_PROFILE=cpu)
	$(VENV) tests/lessons.py $(LESSONS)

map: env  ## renew the tables of lessons (README.md, index, each part) and the path line of each lesson
	$(VENV) tests/door.py

export: env  ## write the package expr_course from the lessons
	.venv/bin/nbdev_export

check-nbdev3:  ## nbdev 3 exports the very same package (in an environment of its own)
	$(PYTHON) .ci/check_nbdev3.py

clean:  ## remove caches and build folders; .venv and course/ stay
	rm -rf build dist *.egg-info .pytest_cache .hypothesis _proc _docs
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +
