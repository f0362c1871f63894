//! Arguments of `dualmd lora-size`.

use clap::Args;
use dualmd_experiment::options::LoraSizeOptions;

/// `dualmd lora-size`
#[derive(Debug, Args)]
pub struct LoraSizeArgs {
    /// What is compared.
    #[command(flatten)]
    pub options: LoraSizeOptions,

    /// Print the result as one line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}
