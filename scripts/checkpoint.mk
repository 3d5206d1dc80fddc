# `make checkpoint`: record Memory Maze, train tokenizer and world model, and measure dreams on held-out mazes. All of it
# goes on where it was when it is started again; with more MINUTES the world model trains on, with more EPISODES or
# WALKS only a new FOLDER learns from them. START_FROM=CHECKPOINT starts from weights that are there, with their tokenizer.
# With TEACH_MINUTES the world model is then taught what to remember, by WALKS of an explorer, and that one is measured.

PYTHON_BIN ?= .venv/bin/python
FOLDER ?= runs/memory_maze
EPISODES ?= 500
HELD_OUT ?= 24
PRESET ?= cpu
TOKENIZER_MINUTES ?= 60
MINUTES ?= 600
START_FROM ?=
TEACH_MINUTES ?=
WALKS ?= 500
# for all trainings: bf16-mixed where bf16 is multiplied natively, and processes or GPUs (teaching takes one)
PRECISION ?= 32-true
DEVICES ?= 1
# for train_world_model.py, teach_world_model.py and evaluate_world_model.py
TRAIN_ARGS ?=
TEACH_ARGS ?=
EVALUATE_ARGS ?=

# what made the shipped one before it was taught: short windows, most of which remember predictions or dreams of the model itself
LEARNING := --muon --stages 0.5 32 1.0 48 --dreamed-share 0.8 --dreamed-frames 12
ON := --precision $(PRECISION) --devices $(DEVICES)
ITS_TOKENIZER := $(or $(START_FROM),$(FOLDER)/tokenizer)
MEASURED := $(if $(TEACH_MINUTES),taught,world_model)
.PHONY: all scores taught world_model

all: scores

scores: $(MEASURED)
	$(PYTHON_BIN) experiments/evaluate_world_model.py --checkpoint $(FOLDER)/$(MEASURED)/checkpoint \
		--recordings $(FOLDER)/test --output $(FOLDER)/scores$(if $(TEACH_MINUTES),_taught) $(EVALUATE_ARGS)

# begins anew where the world model was trained on since
taught: world_model $(FOLDER)/walks.complete
	$(PYTHON_BIN) experiments/teach_world_model.py --anew --checkpoint $(FOLDER)/world_model/checkpoint \
		--recordings $(FOLDER)/explorer --validation $(FOLDER)/explorer_validation --output $(FOLDER)/taught \
		--minutes $(TEACH_MINUTES) --precision $(PRECISION) $(TEACH_ARGS)

# goes on if MINUTES were raised, and ends at once if not
world_model: $(FOLDER)/data.complete $(if $(START_FROM),,$(FOLDER)/tokenizer.complete)
	$(PYTHON_BIN) experiments/train_world_model.py --recordings $(FOLDER)/train --validation $(FOLDER)/validation \
		--tokenizer $(ITS_TOKENIZER) --output $(FOLDER)/world_model --preset $(PRESET) --minutes $(MINUTES) \
		$(LEARNING) $(ON) $(if $(START_FROM),--start-from $(START_FROM)) $(TRAIN_ARGS)

$(FOLDER)/tokenizer.complete: $(FOLDER)/data.complete
	$(PYTHON_BIN) experiments/train_tokenizer.py --recordings $(FOLDER)/train --validation $(FOLDER)/validation \
		--output $(FOLDER)/tokenizer --preset $(PRESET) --minutes $(TOKENIZER_MINUTES) $(ON)
	touch $@

$(FOLDER)/data.complete:
	$(PYTHON_BIN) experiments/collect_episodes.py --split train --episodes $(EPISODES) --output $(FOLDER)/train
	$(PYTHON_BIN) experiments/collect_episodes.py --split validation --episodes $(HELD_OUT) --output $(FOLDER)/validation
	$(PYTHON_BIN) experiments/collect_episodes.py --split test --episodes $(HELD_OUT) --output $(FOLDER)/test
	touch $@

$(FOLDER)/walks.complete:
	$(PYTHON_BIN) experiments/collect_episodes.py --walkers explorer --first-seed 3000 --episodes $(WALKS) \
		--output $(FOLDER)/explorer
	$(PYTHON_BIN) experiments/collect_episodes.py --walkers explorer --split validation --first-seed 1003000 \
		--episodes $(HELD_OUT) --output $(FOLDER)/explorer_validation
	touch $@
