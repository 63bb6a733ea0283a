//! Training steps, schedules, checkpoints, guards and the fan.
