"""Expert jobs: training alone or in groups, and the recording of trajectories."""
