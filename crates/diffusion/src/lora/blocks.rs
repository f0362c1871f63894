//! The original names of the U-Net's layers, before diffusers named them anew: kohya's trainer has them in its files for Stable
//! Diffusion XL.
//!
//! There the network is one list on the way down (`input_blocks`), the middle, and one list on the way up (`output_blocks`). An entry
//! holds a residual block (`.0`) and, where there is one, the transformer behind it (`.1`); a change of size is an entry of its own on the
//! way down. So block j of level i of n blocks each is entry 1 + i (n + 1) + j on the way down, and entry i (n + 1) + j on the way up,
//! where every level has one block more.

/// The original name of the linear layer `name` of a network with `each` residual blocks per level; `None` of a layer in none of the
/// places that are known here.
pub(super) fn original(name: &str, each: i64) -> Option<String> {
    for (ours, theirs) in [
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ] {
        if name == ours {
            return Some(theirs.into());
        }
    }
    let (way, rest) = name.split_once('.')?;
    let (level, rest) = match way {
        "mid_block" => (0, rest),
        _ => {
            let (level, rest) = rest.split_once('.')?;
            (level.parse::<i64>().ok()?, rest)
        }
    };
    let (kind, rest) = rest.split_once('.')?;
    let (block, rest) = rest.split_once('.')?;
    let block = block.parse::<i64>().ok()?;
    let part = match kind {
        "resnets" => 0,
        "attentions" => 1,
        _ => return None,
    };
    let rest = match (kind, rest) {
        ("resnets", "time_emb_proj") => "emb_layers.1",
        ("resnets", _) => return None,
        _ => rest,
    };
    let place = level * (each + 1) + block;
    Some(match way {
        "down_blocks" => format!("input_blocks.{}.{part}.{rest}", 1 + place),
        "up_blocks" => format!("output_blocks.{place}.{part}.{rest}"),
        // A residual block, the transformer, a residual block.
        "mid_block" => format!("middle_block.{}.{rest}", part + 2 * block),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of Stable Diffusion XL, with two residual blocks per level.
    #[test]
    fn layers_have_their_original_names() {
        for (ours, theirs) in [
            (
                "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
                "input_blocks.4.1.transformer_blocks.0.attn1.to_q",
            ),
            (
                "down_blocks.2.attentions.1.proj_in",
                "input_blocks.8.1.proj_in",
            ),
            (
                "mid_block.attentions.0.transformer_blocks.9.ff.net.2",
                "middle_block.1.transformer_blocks.9.ff.net.2",
            ),
            (
                "mid_block.resnets.1.time_emb_proj",
                "middle_block.2.emb_layers.1",
            ),
            (
                "mid_block.resnets.0.time_emb_proj",
                "middle_block.0.emb_layers.1",
            ),
            (
                "up_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0",
                "output_blocks.0.1.transformer_blocks.0.attn2.to_out.0",
            ),
            (
                "up_blocks.1.attentions.2.proj_out",
                "output_blocks.5.1.proj_out",
            ),
            (
                "down_blocks.0.resnets.1.time_emb_proj",
                "input_blocks.2.0.emb_layers.1",
            ),
            ("time_embedding.linear_2", "time_embed.2"),
            ("add_embedding.linear_1", "label_emb.0.0"),
        ] {
            assert_eq!(original(ours, 2).as_deref(), Some(theirs), "{ours}");
        }
        for other in [
            "conv_in",
            "down_blocks.0.downsamplers.0.conv",
            "down_blocks.x.resnets.0.time_emb_proj",
            "down_blocks.0.resnets.0.conv1",
            "side_blocks.0.resnets.0.time_emb_proj",
        ] {
            assert_eq!(original(other, 2), None, "{other}");
        }
    }
}
