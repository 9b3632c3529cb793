//! What `Decoder` says is what transformers computes: a plain forward pass that knows nothing else gives its logits.

use planish::import::decoder;
use planish::model::{Decoder, Experts, FeedForward, Head, NormSpan, Site};
use serde_json::{Value as Json, json};

use crate::forward::{Network, order};
use crate::golden_checkpoints::{cases, write};

/// Largest allowed difference of a logit, as a fraction of the range of all logits.
///
/// Measured on 2026-11-30: at most 6.4e-7 (`phi3-longrope-long`), in all other cases 0.9e-7 to 3.9e-7. The golden logits were
/// computed in f32 and have seven digits.
const TOLERANCE: f64 = 2e-6;
/// The least difference that a wrong fact must make.
const NOTICED: f64 = 1e-4;

/// Cases that are refused, with what the sentence names.
const REFUSED: [(&str, &str); 12] = [
    ("bert", "BertModel"),
    ("bert-masked-lm", "BertForMaskedLM"),
    ("deepseek-v2", "DeepseekV2ForCausalLM"),
    ("deepseek-v2-lite", "DeepseekV2ForCausalLM"),
    ("falcon", "FalconForCausalLM"),
    ("falcon-7b-config", "FalconForCausalLM"),
    ("falcon-multi-query", "FalconForCausalLM"),
    ("gpt-oss", "GptOssForCausalLM"),
    ("gpt-oss-mxfp4", "GptOssForCausalLM"),
    ("gpt2", "GPT2LMHeadModel"),
    ("gpt2-prefixed", "GPT2LMHeadModel"),
    ("starcoder2", "Starcoder2ForCausalLM"),
];

/// The largest difference from the logits of transformers as a fraction of their range, over all prompts of a case; the order
/// of the ten likeliest tokens must be the same.
fn difference(name: &str, case: &Json, network: &Network) -> f64 {
    let mut largest = 0.0_f64;
    for (prompt, golden) in case["prompts"].as_array().unwrap().iter().zip(case["logits"].as_array().unwrap()) {
        let ids: Vec<u64> = prompt.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let golden: Vec<f64> = golden.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
        let found = network.logits(&ids);
        assert_eq!(found.len(), golden.len(), "{name}");
        let (min, max) = golden.iter().fold((f64::MAX, f64::MIN), |(min, max), &logit| (min.min(logit), max.max(logit)));
        let worst = found.iter().zip(&golden).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()));
        largest = largest.max(worst / (max - min));
        // Tokens whose logits are closer than the error may change places.
        for (rank, (a, b)) in order(&found).into_iter().zip(order(&golden)).take(10).enumerate() {
            assert!(a == b || (golden[a] - golden[b]).abs() <= 2.0 * worst, "{name}: rank {rank}: {a} and {b}");
        }
    }
    largest
}

#[test]
fn a_forward_pass_from_the_description_has_the_logits_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let mut differences = Vec::new();
    for (name, case) in cases() {
        let checkpoint = write(&case, &folder.path().join(&name));
        if let Some((_, expected)) = REFUSED.iter().find(|row| row.0 == name) {
            let error = decoder(&checkpoint).unwrap_err().to_string();
            assert!(error.contains(&format!("{expected} is not described as a decoder")), "{name}: {error}");
            continue;
        }
        let found = difference(&name, &case, &Network::of(&checkpoint));
        differences.push((name, found));
    }
    let lines: Vec<String> = differences.iter().map(|(name, difference)| format!("{name} {difference:.1e}")).collect();
    assert!(differences.iter().all(|row| row.1 <= TOLERANCE), "{}", lines.join("\n"));
    assert_eq!(differences.len(), 32, "{}", lines.join("\n"));
}

/// The comparison would notice if any of these facts were wrong.
#[test]
fn every_fact_matters() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, change: &dyn Fn(&mut Decoder)| {
        let (_, case) = cases().into_iter().find(|case| case.0 == name).unwrap();
        let mut network = Network::of(&write(&case, &folder.path().join(name)));
        change(&mut network.decoder);
        let worst = difference(name, &case, &network);
        assert!(worst > NOTICED, "{name}: {worst:.1e}");
    };
    check("llama", &|of| of.layers[0].attention.scale *= 1.1);
    check("llama", &|of| of.layers[1].attention.rope_idx = None);
    check("llama", &|of| of.output_norm.epsilon = 0.1);
    check("llama", &|of| of.head = Head::Tied);
    check("llama-tied-bias", &|of| of.layers[0].attention.o.bias = None);
    check("llama-linear", &|of| of.rope_tables[0].inv_freqs.iter_mut().for_each(|freq| *freq *= 2.0));
    check("llama-yarn", &|of| of.rope_tables[0].magnitude = 1.0);
    check("llama-yarn", &|of| of.rope_tables[0].inv_freqs[2] *= 1.2);
    check("llama-rope-llama3", &|of| of.rope_tables[0].inv_freqs[2] *= 1.2);
    check("phi3-longrope-long", &|of| of.rope_tables[0].long = None);
    check("phi3-longrope", &|of| of.rope_tables[0].magnitude = 1.0);
    check("gemma2", &|of| of.layers[0].attention.softcap = None);
    check("gemma2", &|of| of.layers[0].attention.window = Some(9));
    check("gemma2", &|of| of.final_softcap = None);
    check("gemma2", &|of| of.embedding_scale = 1.0);
    check("gemma3", &|of| of.layers[5].attention.rope_idx = Some(0));
    check("gemma3", &|of| of.layers[2].post_attention_norm.as_mut().unwrap().offset = 0.0);
    check("qwen3", &|of| of.layers[0].attention.qk_norm = None);
    check("olmo2", &|of| of.layers[0].attention.qk_norm.as_mut().unwrap().span = NormSpan::Head);
    check("granite", &|of| of.layers[0].residual_scale = 1.0);
    check("granite", &|of| of.logit_scale = 1.0);
    check("smollm3", &|of| of.layers[3].attention.rope_idx = Some(0));
    check("smollm3", &|of| of.layers[4].attention.rope_idx = None);
    check("qwen2-moe", &|of| with_experts(of, |experts| experts.has_normed_weights = true));
    check("qwen2-moe", &|of| with_experts(of, |experts| experts.shared = None));
    check("mixtral", &|of| with_experts(of, |experts| experts.n_used = 1));
}

fn with_experts(decoder: &mut Decoder, change: impl Fn(&mut Experts)) {
    for layer in &mut decoder.layers {
        let FeedForward::Experts(experts) = &mut layer.feed_forward else { panic!("no experts") };
        change(experts);
    }
}

/// What a golden case's checkpoint computes, with other entries in its `config.json`.
fn described(name: &str, changes: &Json) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    decoder(&write(&changed(name, changes), folder.path())).unwrap()
}

fn changed(name: &str, changes: &Json) -> Json {
    let (_, mut case) = cases().into_iter().find(|case| case.0 == name).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        case["config"][key] = value.clone();
    }
    case
}

fn same() -> Json {
    json!({})
}

#[test]
fn windows_are_in_the_layers_of_each_class() {
    let check = |name: &str, changes: Json, expected: &[Option<u64>]| {
        let windows: Vec<Option<u64>> = described(name, &changes).layers.iter().map(|layer| layer.attention.window).collect();
        assert_eq!(windows, expected, "{name} {changes}");
    };
    let window = || json!({"sliding_window": 8});
    let used = |more: &[(&str, Json)]| {
        let mut json = json!({"sliding_window": 8, "use_sliding_window": true});
        for (key, value) in more {
            json[*key] = value.clone();
        }
        json
    };
    check("llama", window(), &[None, None]);
    check("granite", window(), &[None, None]);
    check("olmo2", window(), &[None, None]);
    check("smollm3", window(), &[None; 5]);
    // Where they are used, the layers without RoPE have them.
    check("smollm3", used(&[("layer_types", Json::Null)]), &[None, None, None, Some(8), None]);
    check("mistral", window(), &[Some(8), Some(8)]);
    check("mistral", same(), &[None, None]);
    check("mixtral", window(), &[Some(8), Some(8)]);
    check("phi3", same(), &[Some(128), Some(128)]);
    check("qwen2", window(), &[None, None]);
    // As many layers as 28 see the whole context, unless the file says otherwise.
    let without_kinds = |n: u64| used(&[("layer_types", Json::Null), ("max_window_layers", n.into())]);
    check("qwen2", without_kinds(28), &[None, None]);
    check("qwen2", without_kinds(1), &[None, Some(8)]);
    check("qwen3", without_kinds(0), &[Some(8), Some(8)]);
    check("qwen2-moe", without_kinds(28), &[Some(8), None]);
    check("qwen3-moe", without_kinds(28), &[Some(8), Some(8)]);
    let kinds = json!(["sliding_attention", "full_attention"]);
    check("qwen2", used(&[("layer_types", kinds)]), &[Some(8), None]);
    check("gemma2", same(), &[Some(8), None]);
    check("gemma3", same(), &[Some(8), Some(8), Some(8), Some(8), Some(8), None]);
}

#[test]
fn tensors_have_the_names_of_the_checkpoint_and_their_rows() {
    let llama = described("llama", &same());
    assert_eq!(llama.embedding.name, "model.embed_tokens.weight");
    assert_eq!((llama.n_vocab, llama.n_embd, llama.n_ctx, llama.layers.len()), (320, 64, 256, 2));
    assert_eq!(llama.head_weight().name, "lm_head.weight");
    assert_eq!((llama.rope_tables.len(), llama.layers[1].attention.rope_idx), (1, Some(0)));
    let attention = &llama.layers[1].attention;
    assert_eq!((attention.n_heads, attention.n_kv_heads, attention.head_dim), (4, 2, 16));
    assert_eq!(attention.k.weight.name, "model.layers.1.self_attn.k_proj.weight");
    assert_eq!((attention.k.weight.n_rows, attention.k.weight.row_len, attention.k.bias.is_none()), (32, 64, true));

    let biased = described("llama-tied-bias", &same());
    assert_eq!(biased.head_weight(), &biased.embedding);
    assert_eq!(biased.layers[0].attention.o.bias.as_ref().unwrap().name, "model.layers.0.self_attn.o_proj.bias");

    let vision = described("gemma3-vision", &same());
    assert_eq!(vision.output_norm.weight.name, "language_model.model.norm.weight");
    assert!(vision.output_norm.offset > 0.0 && vision.layers[0].post_feed_forward_norm.is_some());

    let phi3 = described("phi3", &same());
    let attention = &phi3.layers[0].attention;
    let rows = [&attention.q, &attention.k, &attention.v].map(|part| (part.weight.first_row, part.weight.n_rows));
    assert_eq!(
        (attention.v.weight.name.as_str(), rows),
        ("model.layers.0.self_attn.qkv_proj.weight", [(0, 64), (64, 32), (96, 32)])
    );
    let FeedForward::Dense(mlp) = &phi3.layers[0].feed_forward else { panic!("experts") };
    assert_eq!([&mlp.gate, &mlp.up].map(|part| (part.weight.first_row, part.weight.n_rows)), [(0, 96), (96, 96)]);

    let olmo2 = described("olmo2", &same());
    assert!(olmo2.layers[0].attention_norm.is_none() && olmo2.layers[0].post_attention_norm.is_some());
    assert_eq!(olmo2.layers[0].attention.qk_norm.as_ref().unwrap().span, NormSpan::Projection);
    assert_eq!(described("qwen3", &same()).layers[0].attention.qk_norm.as_ref().unwrap().span, NormSpan::Head);
}

#[test]
fn layers_share_tables_of_rope() {
    let check = |name: &str, expected: &[Option<usize>]| {
        let found = described(name, &same());
        let idxs: Vec<Option<usize>> = found.layers.iter().map(|layer| layer.attention.rope_idx).collect();
        assert_eq!(idxs, expected, "{name}");
        assert_eq!(found.rope_tables.len(), expected.iter().flatten().max().unwrap() + 1, "{name}");
    };
    check("llama", &[Some(0), Some(0)]);
    check("gemma3", &[Some(0), Some(0), Some(0), Some(0), Some(0), Some(1)]);
    check("gemma3-v5-config", &[Some(0), Some(0)]);
    check("smollm3", &[Some(0), Some(0), Some(0), None, Some(0)]);
    let phi4 = described("phi4-mini", &same());
    assert_eq!((phi4.rope_tables[0].n_dims, phi4.layers[0].attention.head_dim), (12, 16));
    assert_eq!(phi4.rope_tables[0].long.as_ref().map(|long| long.above), Some(256));
    assert!(phi4.rope_tables[0].magnitude > 1.0);
}

#[test]
fn every_matrix_has_the_site_of_its_input() {
    let sites = |name: &str| {
        let found = described(name, &same());
        let matrices = found.matrices();
        matrices.iter().map(|(site, weight)| (*site, weight.name.clone())).collect::<Vec<_>>()
    };
    let llama = sites("llama");
    assert_eq!(llama.len(), 2 * 7 + 1);
    let inputs = llama.iter().filter(|row| row.0 == Site::AttentionInput(1)).count();
    assert_eq!((inputs, llama.last().unwrap().0), (3, Site::HeadInput));
    let moe = sites("qwen2-moe");
    let of = |site: Site| moe.iter().filter(|row| row.0 == site).map(|row| row.1.as_str()).collect::<Vec<_>>();
    let part = "model.layers.1.mlp";
    assert_eq!(
        of(Site::ExpertInput(1, 3)),
        [format!("{part}.experts.3.gate_proj.weight"), format!("{part}.experts.3.up_proj.weight")]
    );
    assert_eq!(of(Site::ExpertHidden(1, 3)), [format!("{part}.experts.3.down_proj.weight")]);
    assert_eq!(of(Site::FeedForwardHidden(1)), [format!("{part}.shared_expert.down_proj.weight")]);
    assert_eq!(of(Site::FeedForwardInput(1)).len(), 4);
}

#[test]
fn what_the_table_refuses_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, changes: Json, expected: &str| {
        let error = decoder(&write(&changed(name, &changes), folder.path())).unwrap_err().to_string();
        assert!(error.contains(expected), "{name} {changes}: {error}");
    };
    check("llama", json!({"hidden_act": "relu2"}), "relu2");
    check("llama", json!({"rope_scaling": {"rope_type": "mrope", "factor": 2.0}}), "mrope");
    check("llama", json!({"architectures": ["GPTNeoForCausalLM"], "model_type": "gpt_neo"}), "GPTNeoForCausalLM is not known");
    check("llama", json!({"num_hidden_layers": 3}), "num_hidden_layers");
    check("qwen2", json!({"layer_types": ["full_attention"]}), "layer_types[1] is null");
    check("qwen2", json!({"max_window_layers": "some"}), "max_window_layers is \"some\", not a whole number");
    check("mixtral", json!({"num_experts_per_tok": 5}), "num_experts_per_tok");
    check("llama", json!({"rope_scaling": {"rope_type": "linear", "factor": 1e-300}}), "RoPE in config.json");
    check("granite", json!({"logits_scaling": 1e-310}), "a scale that is not finite");
}
