//! The decision tree as a value: the page draws it, the tests walk it.
//!
//! Five questions in this order: what it is, where it will run, whether an enterprise pipeline is wanted, what fits, what counts most.
//! The first three choose the frameworks, so their answers part ways; the last two choose the level, so all their answers lead on to
//! the same node. No two paths share these questions, except that all enterprise pipelines meet.

use super::{Branch, Leaf, Node, Tree};
use crate::model::Framework;

/// Answers of the root, by index.
pub(super) const KIND_LANGUAGE: usize = 0;
pub(super) const KIND_OTHER: usize = 1;
pub(super) const KIND_UNKNOWN: usize = 2;

/// Answers of `enterprise-…`.
pub(super) const ENTERPRISE_NO: usize = 0;
pub(super) const ENTERPRISE_YES: usize = 1;

/// What fits: answers of `memory-…`.
const MEMORY_ANSWERS: [&str; 4] = ["8 bits fit", "4 bits fit", "only less fits", "nothing fits"];

/// Answers of `priority-…`, in the order of `Priority`.
const PRIORITY_ANSWERS: [&str; 4] = ["balanced", "best quality", "fastest", "smallest"];

/// The whole tree. Ids and order are stable.
#[must_use]
#[allow(clippy::too_many_lines, reason = "the tree is one value")]
pub fn tree() -> Tree {
    use Framework::{LlamaCpp, Mlx, OnnxRuntime, OpenVino, Qnn};
    let mut nodes = vec![
        question("kind", "What kind of network is it?"),
        question("where", "Where will it run?"),
        question("where-other", "Where will it run?"),
    ];
    branch(&mut nodes, 0, "language model", 1);
    branch(&mut nodes, 0, "vision, audio or encoder", 2);

    let unknown = push_leaf(
        &mut nodes,
        "leaf-unknown",
        "llama.cpp, if it knows the architecture",
        leaf(
            &[LlamaCpp, OnnxRuntime],
            "Q8_0 first",
            &["the file does not say what network it is", "llama.cpp says on loading whether it knows it"],
        ),
    );
    branch(&mut nodes, 0, "unknown", unknown);

    let apple = chain(&mut nodes, ["enterprise-apple", "memory-apple", "priority-apple"]);
    branch(&mut nodes, 1, "Apple silicon", apple);
    end(
        &mut nodes,
        apple + 2,
        "leaf-apple",
        "MLX",
        leaf(
            &[Mlx, LlamaCpp],
            "4-bit group 64; 8-bit where memory allows",
            &[
                "made for Apple's unified memory",
                "llama.cpp with Metal is the alternative that also runs elsewhere",
                "published (EdgeAI for Beginners): 7 B weights in about 4 GB, 2-4 times as fast",
            ],
        ),
    );

    let intel = chain(&mut nodes, ["enterprise-intel", "memory-intel", "priority-intel"]);
    branch(&mut nodes, 1, "Intel CPU, GPU or NPU", intel);
    end(
        &mut nodes,
        intel + 2,
        "leaf-intel",
        "OpenVINO",
        leaf(
            &[OpenVino, LlamaCpp, OnnxRuntime],
            "INT4 group 64 or INT8; channel-wise INT4 on the NPU",
            &[
                "made by Intel for its CPUs, GPUs and NPUs",
                // Source: `ggml_openvino_get_requant_type` in ggml-openvino-extra.cpp, llama.cpp of 2026-08-21.
                "llama.cpp's OpenVINO backend reaches the NPU too: there it turns the weights into Q4_0",
                "published (EdgeAI for Beginners): 50-75 % smaller, 2-5 times as fast",
            ],
        ),
    );

    let nvidia = chain(&mut nodes, ["enterprise-nvidia", "memory-nvidia", "priority-nvidia"]);
    branch(&mut nodes, 1, "NVIDIA GPU", nvidia);
    end(
        &mut nodes,
        nvidia + 2,
        "leaf-nvidia",
        "llama.cpp with CUDA",
        leaf(
            &[LlamaCpp, OnnxRuntime],
            "Q4_K_M and neighbours; INT4 with ONNX Runtime",
            &["layers that do not fit the GPU stay in main memory", "one file for GPU and CPU"],
        ),
    );

    let snapdragon = nodes.len();
    nodes.extend([memory_question("memory-snapdragon"), priority_question("priority-snapdragon")]);
    branch(&mut nodes, 1, "Snapdragon", snapdragon);
    join(&mut nodes, snapdragon, &MEMORY_ANSWERS, snapdragon + 1);
    end(
        &mut nodes,
        snapdragon + 1,
        "leaf-snapdragon",
        "llama.cpp with its Hexagon backend",
        leaf(
            &[LlamaCpp, Qnn],
            "Q4_0, Q8_0, IQ4_NL or MXFP4; k-quants with a recent llama.cpp",
            // Source: `ggml_hexagon_supported_mul_mat` in ggml-hexagon.cpp, llama.cpp of 2026-08-21, which has the k-quants too.
            &[
                "llama.cpp's Hexagon backend computes Q4_0, Q4_1, Q8_0, IQ4_NL and MXFP4 on the NPU, recent versions k-quants as well",
                "QNN is the first choice for other networks there, with A16W8 or A8W8",
                "published for QNN (EdgeAI for Beginners): 50-80 % smaller, 5-15 times as fast",
            ],
        ),
    );

    let cross = chain(&mut nodes, ["enterprise-cross", "memory-cross", "priority-cross"]);
    branch(&mut nodes, 1, "ARM, AMD or several systems", cross);
    end(
        &mut nodes,
        cross + 2,
        "leaf-cross",
        "llama.cpp",
        leaf(
            &[LlamaCpp, OpenVino],
            "Q4_K_M and neighbours",
            &[
                "one file for every processor and system",
                "published (EdgeAI for Beginners): 7 B weights in about 4 GB, 2-3 times as fast",
            ],
        ),
    );

    let enterprise = nodes.len();
    nodes.extend([memory_question("memory-enterprise"), priority_question("priority-enterprise")]);
    join(&mut nodes, enterprise, &MEMORY_ANSWERS, enterprise + 1);
    for start in [apple, intel, nvidia, cross] {
        branch(&mut nodes, start, "yes", enterprise);
    }
    end(
        &mut nodes,
        enterprise + 1,
        "leaf-enterprise",
        "Olive / ONNX Runtime",
        leaf(
            &[OnnxRuntime, LlamaCpp, OpenVino],
            "INT4",
            &[
                "versioned recipes; the same model on ONNX Runtime and Windows ML",
                "published (EdgeAI for Beginners): 60-75 % smaller, 2-6 times as fast",
            ],
        ),
    );

    let static_or_dynamic = "INT8, static or dynamic";
    let int8_activations = "A16W8 or A8W8";
    let others = [
        (
            "leaf-other-intel",
            "Intel CPU, GPU or NPU",
            "OpenVINO",
            &[OpenVino, OnnxRuntime][..],
            static_or_dynamic,
            "Intel's compiler fuses convolutions in INT8",
        ),
        (
            "leaf-other-snapdragon",
            "Snapdragon",
            "QNN",
            &[Qnn, OnnxRuntime],
            int8_activations,
            "the Hexagon NPU computes in whole numbers of 8 and 16 bits",
        ),
        (
            "leaf-other",
            "anything else",
            "ONNX Runtime",
            &[OnnxRuntime, OpenVino],
            static_or_dynamic,
            "Olive's passes know vision, audio and encoders",
        ),
    ];
    for (id, answer, text, frameworks, level_family, reason) in others {
        let at = push_leaf(&mut nodes, id, text, leaf(frameworks, level_family, &[reason]));
        branch(&mut nodes, 2, answer, at);
    }
    Tree { nodes }
}

fn question(id: &'static str, text: &'static str) -> Node {
    Node { id, text, branches: Vec::new(), leaf: None }
}

fn memory_question(id: &'static str) -> Node {
    question(id, "What fits into memory?")
}

fn priority_question(id: &'static str) -> Node {
    question(id, "What counts most?")
}

fn leaf(frameworks: &[Framework], level_family: &'static str, reasons: &[&'static str]) -> Leaf {
    Leaf { frameworks: frameworks.to_vec(), level_family, reasons: reasons.to_vec() }
}

fn branch(nodes: &mut [Node], from: usize, answer: &'static str, to: usize) {
    nodes[from].branches.push(Branch { answer, to });
}

/// Makes all answers lead to the same node.
fn join(nodes: &mut [Node], from: usize, answers: &[&'static str], to: usize) {
    for &answer in answers {
        branch(nodes, from, answer, to);
    }
}

/// Adds the three questions between a place and its leaf; returns the index of the first.
fn chain(nodes: &mut Vec<Node>, [enterprise, memory, priority]: [&'static str; 3]) -> usize {
    let first = nodes.len();
    nodes.extend([
        question(enterprise, "Is a versioned enterprise pipeline wanted?"),
        memory_question(memory),
        priority_question(priority),
    ]);
    branch(nodes, first, "no", first + 1);
    join(nodes, first + 1, &MEMORY_ANSWERS, first + 2);
    first
}

/// Adds the leaf after a `priority-…` question.
fn end(nodes: &mut Vec<Node>, priority: usize, id: &'static str, text: &'static str, leaf: Leaf) {
    let at = push_leaf(nodes, id, text, leaf);
    join(nodes, priority, &PRIORITY_ANSWERS, at);
}

fn push_leaf(nodes: &mut Vec<Node>, id: &'static str, text: &'static str, leaf: Leaf) -> usize {
    nodes.push(Node { id, text, branches: Vec::new(), leaf: Some(leaf) });
    nodes.len() - 1
}
