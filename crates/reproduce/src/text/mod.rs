//! What is said and drawn of text-to-image models alone, whose runs train every model without and with prompt diversification.

mod facts;
mod figures;
mod histograms;
mod measured;
mod memorised;
mod notes;
mod prompts;
#[cfg(test)]
mod tests;

pub use facts::facts;
pub use figures::{curves, grids};
pub use histograms::histograms;
pub use measured::measure;
pub use memorised::build as memorisation;
pub use notes::notes;
pub use prompts::figure as prompts_figure;
