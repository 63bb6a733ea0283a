//! Token embedding: one row of the table per token.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use crate::Rows;

/// Token ids as an index tensor.
pub(crate) fn indices(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let count = ids.len();
    Tensor::from_data(TensorData::new(ids, [count]), device)
}

/// The table's rows at `ids`.
pub fn forward(table: &Tensor<2>, ids: &[u32]) -> Rows {
    table.clone().select(0, indices(ids, &table.device()))
}

/// The table's gradient: each row of `dy` added to the row of its id.
pub fn backward_table(table: &Tensor<2>, ids: &[u32], dy: Rows) -> Tensor<2> {
    table.zeros_like().select_assign(0, indices(ids, &table.device()), dy, IndexingUpdateOp::Add)
}
