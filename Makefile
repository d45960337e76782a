# Short names for `python3 make.py ...`, which says what each does.
.PHONY: demo test check bench
demo test check bench:
	python3 make.py $@
