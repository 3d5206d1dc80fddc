# `make memory`: on a small world, train every system of model/backbones.py that is not trained yet, and measure them.
# All of it goes on where it was when it is started again. Other SEEDS and SYSTEMS add to what is there, in one table;
# other STEPS are other runs. `make memory WORLD=maze`: the same on Memory Maze, each training going on from the weights
# that its system learned on the small world.

PYTHON_BIN ?= .venv/bin/python
MEMORY := runs/memory
WORLD ?= texture
STEPS ?= 1200
SEEDS ?= 0
# for memory_benchmark.py, such as --lpips
BENCHMARK_ARGS ?=
KNOWN := lssvwm causal_window mamba2_local causal mamba2 lssvwm_block1 lssvwm_no_clean videossm dfot
SYSTEMS ?= $(KNOWN)

not_one = $(filter-out 1,$(words $(1)))
$(if $(call not_one,$(WORLD))$(filter-out texture maze,$(WORLD)),$(error WORLD = $(WORLD), expected texture or maze))
override WORLD := $(strip $(WORLD))
unknown := $(filter-out $(KNOWN),$(SYSTEMS))
$(if $(unknown),$(error SYSTEMS has $(unknown), expected some of: $(KNOWN)))
not_digits = $(shell printf '%s' '$(1)' | tr -d '0-9 ')
$(if $(strip $(SEEDS)),,$(error SEEDS is empty, expected whole numbers, such as SEEDS="0 1 2"))
$(if $(call not_digits,$(SEEDS)),$(error SEEDS = $(SEEDS), expected whole numbers, such as SEEDS="0 1 2"))
$(if $(call not_one,$(STEPS))$(call not_digits,$(STEPS))$(filter 0,$(STEPS)),\
	$(error STEPS = $(STEPS), expected a whole number of 1 or more, such as STEPS=1200))
override STEPS := $(strip $(STEPS))
$(if $(strip $(SYSTEMS)),,$(error SYSTEMS is empty, expected some of: $(KNOWN)))

HOME_texture := $(MEMORY)
HOME_maze := $(MEMORY)/maze
HERE := $(HOME_$(WORLD))
NAME_texture := TextureWorld
NAME_maze := MemoryMaze
FOLDER := $(HERE)/$(STEPS)-steps
RUNS := $(foreach seed,$(SEEDS),$(SYSTEMS:%=$(FOLDER)/%-$(seed)))
MISSING := $(filter-out $(wildcard $(FOLDER)/*.complete),$(RUNS:=.complete))
# the same on the small world, where trainings on another begin
LEARNED := $(MEMORY)/$(STEPS)-steps
LEARNERS := $(addprefix $(LEARNED)/,$(notdir $(MISSING)))
BESIDE := $(wildcard $(HOME_$(if $(filter maze,$(WORLD)),texture,maze))/$(STEPS)-steps/result/result.json)
ENV := --env wmgym/TextureWorld-v0
$(HOME_maze)/data.complete: ENV := --env wmgym/MemoryMaze-9x9-v0 --frame-size 32
TRAINING := --preset small --conditioning pose --muon --learning-rate 0.008 --there-and-back 0.8 --dreamed-share 0 \
	--shortcut-after 1 --context-noise 0.1 --average-decay 0.99 --validate-every 3600 --clips 1 --contexts 1
# most windows walk 24 steps there and the same back
STAGES := --stages 1.0 48

# what differs from `--backbone NAME`, by name
# a limited context is also all that a model is trained on, as in the paper: 12 frames and the one to predict, of walks
# that began up to 35 frames before
FLAGS_causal_window := --backbone causal_window --stages 1.0 13 --pose-origin 35
FLAGS_dfot := --backbone dfot --mode diffusion_forcing --stages 1.0 25
FLAGS_lssvwm_no_clean := --backbone lssvwm --mode diffusion_forcing --clean-prefix 0 $(STAGES)

# one core a training: they run side by side
export OMP_NUM_THREADS := 1
.PHONY: all

# what is there already is measured along, and rows of the other world stand beside
all: $(RUNS:=.complete)
	$(PYTHON_BIN) experiments/memory_benchmark.py --world $(NAME_$(WORLD)) \
		--runs $(sort $(RUNS) $(patsubst %.complete,%,$(wildcard $(FOLDER)/*-*.complete))) \
		--recordings $(HERE)/test --output $(FOLDER)/result $(addprefix --beside ,$(BESIDE)) $(BENCHMARK_ARGS)

$(HOME_texture)/data.complete $(HOME_maze)/data.complete: %/data.complete:
	$(PYTHON_BIN) experiments/collect_episodes.py $(ENV) --output $*/train --episodes 200
	$(PYTHON_BIN) experiments/collect_episodes.py $(ENV) --output $*/validation --split validation --episodes 8
	$(PYTHON_BIN) experiments/collect_episodes.py $(ENV) --output $*/test --split test --episodes 24
	touch $@

$(HOME_texture)/tokenizer.complete $(HOME_maze)/tokenizer.complete: %/tokenizer.complete: %/data.complete
	$(PYTHON_BIN) experiments/train_tokenizer.py --recordings $*/train --validation $*/validation \
		--output $*/tokenizer --preset small --minutes 4
	touch $@

# of a target FOLDER/SYSTEM-SEED.complete
its_run = $(basename $@)
its_system = $(firstword $(subst -, ,$(notdir $(its_run))))
its_seed = $(lastword $(subst -, ,$(notdir $(its_run))))

# $(call train,folder of recordings and tokenizer,more flags)
define train
@echo "$(its_run): $(STEPS) steps, progress in $(its_run).log"
@mkdir -p $(@D)
@$(PYTHON_BIN) experiments/train_world_model.py --recordings $(1)/train --validation $(1)/validation \
	--tokenizer $(1)/tokenizer --output $(its_run) $(TRAINING) --minutes 600 --steps $(STEPS) --seed $(its_seed) \
	$(or $(FLAGS_$(its_system)),--backbone $(its_system) $(STAGES)) $(2) >> $(its_run).log 2>&1 \
	|| { tr '\r' '\n' < $(its_run).log | tail -n 20; exit 1; }
@touch $@
endef

$(LEARNERS): | $(HOME_texture)/tokenizer.complete
	$(call train,$(HOME_texture))

ifeq ($(WORLD),maze)
# one after the other: tokenizers are trained by the clock
$(HOME_maze)/data.complete: | $(LEARNERS)
$(MISSING): $(FOLDER)/%.complete: | $(LEARNED)/%.complete $(HOME_maze)/tokenizer.complete
	$(call train,$(HOME_maze),--transfer --start-from $(LEARNED)/$*/checkpoint)
endif
