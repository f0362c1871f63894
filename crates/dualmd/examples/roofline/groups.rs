//! What an operation of libtorch is for, by its name.

/// What the time is spent on, in the order of the tables.
pub const GROUPS: [&str; 10] = [
    "convolutions",
    "attention",
    "matrix products",
    "norms",
    "activations",
    "optimiser",
    "copies",
    "arithmetic",
    "allocation",
    "autograd and views",
];

/// What the names of a group's operations contain; of several the first counts. Nodes of the graph come first: they are what is done around
/// the operation that they call, which has a name of its own.
const RULES: [(&str, &[&str]); 11] = [
    (
        "autograd and views",
        &[
            "evaluate_function",
            "backward0",
            "backward1",
            "accumulategrad",
            "cppnode",
        ],
    ),
    (
        "optimiser",
        &[
            "_foreach",
            "_fused_adam",
            "linalg_vector_norm",
            "aten::norm",
            "aten::stack",
        ],
    ),
    ("norms", &["norm"]),
    ("convolutions", &["conv"]),
    ("attention", &["attention", "softmax", "bmm"]),
    (
        "matrix products",
        &["aten::mm", "addmm", "matmul", "linear"],
    ),
    (
        "activations",
        &[
            "silu",
            "sigmoid",
            "gelu",
            "relu",
            "tanh",
            "dropout",
            "bernoulli",
        ],
    ),
    (
        "copies",
        &[
            "copy",
            "clone",
            "contiguous",
            "aten::to",
            "aten::cat",
            "upsample",
            "aten::pad",
            "_pad_nd",
            "index",
        ],
    ),
    (
        "allocation",
        &[
            "aten::empty",
            "aten::zeros",
            "aten::ones",
            "aten::new_",
            "aten::full",
            "fill_",
            "zero_",
            "resize_",
            "scalar_tensor",
        ],
    ),
    (
        "autograd and views",
        &[
            "view",
            "expand",
            "as_strided",
            "reshape",
            "squeeze",
            "permute",
            "transpose",
            "slice",
            "select",
            "narrow",
            "detach",
            "alias",
            "flatten",
            "chunk",
            "split",
            "requires_grad",
        ],
    ),
    (
        "arithmetic",
        &[
            "add",
            "sub",
            "mul",
            "div",
            "neg",
            "pow",
            "sqrt",
            "sum",
            "mean",
            "mse",
            "exp",
            "log",
            "sin",
            "cos",
            "abs",
            "square",
            "lerp",
            "clamp",
            "aten::ge",
            "aten::lt",
            "where",
            "item",
            "_local_scalar_dense",
            "isfinite",
            "aten::eq",
            "aten::all",
        ],
    ),
];

/// The place of an operation in [`GROUPS`]; behind the last one where it is none of them.
pub fn group(name: &str) -> usize {
    let name = name.to_lowercase();
    let fits = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let rule = RULES.iter().find(|(_, words)| fits(words));
    let group = match rule {
        Some((group, _)) => *group,
        // Too short a name to look for in others.
        None if name == "aten::t" => "autograd and views",
        None => return GROUPS.len(),
    };
    let place = GROUPS.iter().position(|known| *known == group);
    place.unwrap_or(GROUPS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_their_groups() {
        for (name, expected) in [
            ("aten::mkldnn_convolution", "convolutions"),
            ("aten::convolution_backward", "convolutions"),
            ("ConvolutionBackward0", "autograd and views"),
            (
                "autograd::engine::evaluate_function: AddmmBackward0",
                "autograd and views",
            ),
            (
                "aten::_scaled_dot_product_flash_attention_for_cpu",
                "attention",
            ),
            ("aten::addmm", "matrix products"),
            ("dualmd::group_norm_silu", "norms"),
            ("aten::native_group_norm", "norms"),
            ("dualmd::group_norm_silu_backward", "norms"),
            ("aten::silu_backward", "activations"),
            ("aten::_fused_adam_", "optimiser"),
            ("aten::_foreach_norm", "optimiser"),
            ("aten::_to_copy", "copies"),
            ("aten::upsample_nearest2d", "copies"),
            ("aten::add_", "arithmetic"),
            ("aten::empty_like", "allocation"),
            ("aten::t", "autograd and views"),
            ("aten::transpose", "autograd and views"),
        ] {
            assert_eq!(GROUPS.get(group(name)), Some(&expected), "{name}");
        }
        assert_eq!(group("aten::histc"), GROUPS.len());
        for (group, _) in RULES {
            assert!(GROUPS.contains(&group), "{group}");
        }
    }
}
