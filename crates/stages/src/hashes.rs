//! Hashes of tensors, by which things are known again.

use anyhow::Result;
use dualmd_diffusion::Condition;
use dualmd_torch::{Device, Kind, Tensor};

/// BLAKE3 of what models are told.
pub fn hash_told(told: &Condition) -> Result<String> {
    let hashes = told.parts().into_iter().flatten().map(hash_tensor);
    Ok(hashes.collect::<Result<Vec<_>>>()?.join(" "))
}

/// BLAKE3 of the shape and of the values as f32.
pub fn hash_tensor(x: &Tensor) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", x.size()).as_bytes());
    hash_values(&mut hasher, x)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Adds the values as f32 to a hash.
pub fn hash_values(hasher: &mut blake3::Hasher, x: &Tensor) -> Result<()> {
    let flat = x
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_flatten(0, -1)?;
    for value in Vec::<f32>::try_from(&flat)? {
        hasher.update(&value.to_le_bytes());
    }
    Ok(())
}
