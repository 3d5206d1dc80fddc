"""Things that act: planners, Stable-Baselines3 glue and evaluation. They see environments only."""
