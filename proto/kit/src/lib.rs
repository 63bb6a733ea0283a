//! What coordinator and worker do alike: configuration layers, telemetry, retry.
