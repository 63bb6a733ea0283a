//! Pure decisions of the control plane: (state, event, now) -> effects.
