//! Figures out of many runs.

/// The value that so large a share of them do not exceed. Sorts them. 0: there are none.
pub fn quantile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(0)
}
