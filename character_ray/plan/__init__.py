"""What a recipe will do and what it takes: rows, tokens, memory, hours and cost, before anything is started."""

from character_ray.plan.check import Compared, compare_with
from character_ray.plan.estimate import Estimate, Plan, check_fits, estimate_recipe
from character_ray.plan.memory import Memory
from character_ray.plan.scaling import Scaled, Task, compare_team, fit_tasks, simulate
from character_ray.plan.scaling_page import scaling_page
from character_ray.plan.stage_kinds import held_gpus
from character_ray.plan.steps import Step, plan_recipe

__all__ = [
    "Compared",
    "Estimate",
    "Memory",
    "Plan",
    "Scaled",
    "Step",
    "Task",
    "check_fits",
    "compare_team",
    "compare_with",
    "estimate_recipe",
    "fit_tasks",
    "held_gpus",
    "plan_recipe",
    "scaling_page",
    "simulate",
]
