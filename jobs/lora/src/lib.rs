//! Low-rank adapters: adapter, bank, routing, per-slot AdamW, PEFT files.
