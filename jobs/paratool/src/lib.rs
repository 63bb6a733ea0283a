//! The ParaTool method: pretraining, gate, joint finetuning, agent loop.
