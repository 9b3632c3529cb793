//! `general.*`: what a model is called and where it comes from, by its model card, its configuration, and the name of its
//! repository or folder.
//!
//! Source of names, order and precedence: `Metadata.apply_metadata_heuristic` and `Metadata.set_gguf_meta_model` in
//! `gguf-py/gguf/metadata.py`, llama.cpp of 2026-08-21.

use serde_json::{Map, Value as Json};

use super::naming::{Weights, parts_of, size_label, split_id, title_of};
use crate::model::{Array, Checkpoint, Value};

/// Most base models, data sets, tags or languages that are kept.
const MAX_ENTRIES: usize = 1000;

type Entry = (String, Value);

/// Key-values `general.*`, in the order of `convert_hf_to_gguf.py`. `first` comes right after the architecture.
pub(super) fn general_entries(checkpoint: &Checkpoint, architecture: &str, first: &[Entry], weights: Weights) -> Vec<Entry> {
    let card = &checkpoint.card;
    let of_card = |keys: &[&str]| keys.iter().find_map(|key| text_of(card.get(*key)?));
    let config_name = checkpoint.config.as_ref().and_then(|config| config.json.get("_name_or_path")?.as_str());
    let config_name = config_name.filter(|name| !name.is_empty() && name.matches('/').count() <= 1);
    let n_weights = weights.n_total;
    let of_config = config_name.map(|name| parts_of(name, n_weights)).unwrap_or_default();
    let of_folder = parts_of(&checkpoint.name, n_weights);
    let mut all = vec![entry("architecture", text(architecture))];
    all.extend_from_slice(first);
    all.push(entry("type", text("model")));
    sampling_entries(&checkpoint.generation, &mut all);
    let name = of_card(&["name", "model_name"]).or(of_config.title).or(of_folder.title);
    let size = of_card(&["size_label", "model_size_label"]).or(of_config.size_label).or(of_folder.size_label);
    let version = of_card(&["version", "model_version"]).or(of_config.version).or(of_folder.version);
    let organization = of_card(&["organization", "model_organization"]).or(of_config.organization).or(of_folder.organization);
    let finetune = of_card(&["finetune", "model_finetune"]).or(of_config.finetune).or(of_folder.finetune);
    let basename = of_card(&["basename", "model_basename", "model_type"]).or(of_config.basename).or(of_folder.basename);
    let license = match card.get("license") {
        Some(Json::Array(list)) => Some(texts(list).join(",")).filter(|text| !text.is_empty()),
        _ => of_card(&["license"]),
    };
    for (key, value) in [
        ("name", name.or_else(|| Some(checkpoint.name.clone()))),
        ("author", of_card(&["author", "model_author", "model_creator"])),
        ("version", version),
        ("organization", organization),
        ("finetune", finetune),
        ("basename", basename),
        ("description", of_card(&["description", "model_description"])),
        ("size_label", size.or_else(|| Some(size_label(weights)))),
        ("license", license),
        ("license.name", of_card(&["license_name"])),
        ("license.link", of_card(&["license_link"])),
        ("source.url", of_card(&["url", "model_url"])),
        ("source.doi", of_card(&["doi", "model_doi"])),
        ("source.uuid", of_card(&["uuid", "model_uuid"])),
        ("source.repo_url", of_card(&["repo_url", "model_repo_url"])),
    ] {
        all.extend(value.map(|value| entry(key, text(&value))));
    }
    origin_entries("base_model", card, &["base_model", "base_models", "base_model_sources"], n_weights, &mut all);
    origin_entries("dataset", card, &["datasets", "dataset", "dataset_sources"], n_weights, &mut all);
    for (key, sources) in [("tags", ["tags", "pipeline_tag"]), ("languages", ["languages", "language"])] {
        let list: Vec<String> =
            sources.iter().filter_map(|source| card.get(*source)).flat_map(one_or_more).take(MAX_ENTRIES).collect();
        if !list.is_empty() {
            let list = list.iter().map(|text| text.as_str().into()).collect();
            all.push(entry(key, Value::Array(Array::Str(list))));
        }
    }
    all
}

fn entry(key: &str, value: Value) -> Entry {
    (format!("general.{key}"), value)
}

fn text(text: &str) -> Value {
    Value::Str(text.into())
}

fn text_of(value: &Json) -> Option<String> {
    value.as_str().map(String::from)
}

fn texts(list: &[Json]) -> Vec<String> {
    list.iter().filter_map(text_of).collect()
}

/// The text, or the texts of a list.
fn one_or_more(value: &Json) -> Vec<String> {
    match value {
        Json::Array(list) => texts(list),
        one => text_of(one).into_iter().collect(),
    }
}

/// Adds the sampling settings that `generation_config.json` recommends.
#[allow(clippy::cast_possible_truncation, reason = "GGUF keeps these numbers as f32")]
fn sampling_entries(generation: &Map<String, Json>, all: &mut Vec<Entry>) {
    let value = |key: &str| generation.get(key).filter(|value| !value.is_null());
    let whole = |key: &str| value(key)?.as_i64().and_then(|n| i32::try_from(n).ok()).map(Value::I32);
    let float = |key: &str| value(key)?.as_f64().filter(|n| n.is_finite()).map(|n| Value::F32(n as f32));
    let penalty = if value("penalty_repeat").is_some() { "penalty_repeat" } else { "repetition_penalty" };
    for (name, value) in [
        ("sequence", value("sequence").and_then(Json::as_str).map(text)),
        ("top_k", whole("top_k")),
        ("top_p", float("top_p")),
        ("min_p", float("min_p")),
        ("xtc_probability", float("xtc_probability")),
        ("xtc_threshold", float("xtc_threshold")),
        ("temp", float("temperature")),
        ("penalty_last_n", whole("penalty_last_n")),
        ("penalty_repeat", float(penalty)),
        ("mirostat", whole("mirostat")),
        ("mirostat_tau", float("mirostat_tau")),
        ("mirostat_eta", float("mirostat_eta")),
    ] {
        all.extend(value.map(|value| entry(&format!("sampling.{name}"), value)));
    }
}

/// Adds what a model was made from: `general.base_model.*`, `general.dataset.*`.
fn origin_entries(kind: &str, card: &Map<String, Json>, sources: &[&str], n_weights: u64, all: &mut Vec<Entry>) {
    let Some(value) = sources.iter().find_map(|source| card.get(*source)) else { return };
    let origins = match value {
        Json::Array(list) => list.as_slice(),
        Json::String(_) => std::slice::from_ref(value),
        _ => &[],
    };
    let origins = origins.get(..MAX_ENTRIES).unwrap_or(origins);
    all.push(entry(&format!("{kind}.count"), Value::U32(u32::try_from(origins.len()).unwrap_or(u32::MAX))));
    for (idx, origin) in origins.iter().enumerate() {
        for (name, value) in facts_of(origin, n_weights) {
            all.push(entry(&format!("{kind}.{idx}.{name}"), text(&value)));
        }
    }
}

/// What is said about one origin, or what follows from its `ORG/NAME` or address.
fn facts_of(origin: &Json, n_weights: u64) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 9] = ["name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"];
    let found = match origin {
        Json::Object(entries) => return NAMES.iter().filter_map(|name| Some((*name, text_of(entries.get(*name)?)?))).collect(),
        Json::String(id) => id.as_str(),
        _ => return Vec::new(),
    };
    let is_address = ["http://", "https://", "ssh://"].iter().any(|start| found.starts_with(start));
    let in_hub = ["https://huggingface.co/", "http://huggingface.co/"].iter().find_map(|start| found.strip_prefix(start));
    let id = match in_hub {
        _ if !is_address => Some(found),
        Some(id) if id.split('/').count() == 2 && !id.split('/').any(str::is_empty) => Some(id),
        _ => None,
    };
    let mut repo_url = Some(found.to_string()).filter(|_| is_address);
    let Some(id) = id else { return repo_url.map(|url| ("repo_url", url)).into_iter().collect() };
    let parts = parts_of(id, n_weights);
    if let ((Some(organization), name), false) = (split_id(id), is_address || id.contains(' ')) {
        repo_url = Some(format!("https://huggingface.co/{organization}/{name}"));
    }
    let facts = [
        ("name", parts.title.map(|title| title_of(&title))),
        ("version", parts.version),
        ("organization", parts.organization),
        ("repo_url", repo_url),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(card: &str, generation: &str) -> Vec<String> {
        let checkpoint = Checkpoint {
            name: "tiny".into(),
            card: serde_json::from_str(card).unwrap(),
            generation: serde_json::from_str(generation).unwrap(),
            ..Checkpoint::default()
        };
        let weights = Weights { n_total: 1_000_000, n_shared: 1_000_000, n_of_expert: 0, n_experts: 0 };
        let all = general_entries(&checkpoint, "llama", &[], weights);
        all.iter().map(|(key, value)| format!("{} = {value:?}", key.trim_start_matches("general."))).collect()
    }

    fn check(card: &str, generation: &str, expected: &[&str]) {
        let found = entries(card, generation);
        let outer = ["architecture", "type", "name = ", "size_label"];
        let inner: Vec<&String> = found.iter().filter(|line| !outer.iter().any(|start| line.starts_with(start))).collect();
        assert_eq!(inner, expected, "{card} {generation}");
    }

    #[test]
    fn a_card_says_what_a_model_is() {
        check("{}", "{}", &[]);
        check(r#"{"license":["mit","apache-2.0"],"license_link":null}"#, "{}", &[r#"license = Str("mit,apache-2.0")"#]);
        check(
            r#"{"license":"other","license_name":"own","license_link":"LICENSE","author":"A"}"#,
            "{}",
            &[
                r#"author = Str("A")"#,
                r#"license = Str("other")"#,
                r#"license.name = Str("own")"#,
                r#"license.link = Str("LICENSE")"#,
            ],
        );
        check(
            r#"{"language":"en","languages":["de",{"a":"b"}],"pipeline_tag":"fill-mask"}"#,
            "{}",
            &[r#"tags = Array(Str(["fill-mask"]))"#, r#"languages = Array(Str(["de", "en"]))"#],
        );
        assert!(entries(r#"{"model_name":"The Name"}"#, "{}").contains(&r#"name = Str("The Name")"#.to_string()));
    }

    #[test]
    fn origins_are_named() {
        check(
            r#"{"base_model":["Qwen/Qwen2.5-7B-v2","https://huggingface.co/a/b-c","https://example.com/x",{"name":"N","doi":"1","x":"y"}]}"#,
            "{}",
            &[
                "base_model.count = U32(4)",
                r#"base_model.0.name = Str("Qwen2.5 7B v2")"#,
                r#"base_model.0.version = Str("v2")"#,
                r#"base_model.0.organization = Str("Qwen")"#,
                r#"base_model.0.repo_url = Str("https://huggingface.co/Qwen/Qwen2.5-7B-v2")"#,
                r#"base_model.1.name = Str("B C")"#,
                r#"base_model.1.organization = Str("A")"#,
                r#"base_model.1.repo_url = Str("https://huggingface.co/a/b-c")"#,
                r#"base_model.2.repo_url = Str("https://example.com/x")"#,
                r#"base_model.3.name = Str("N")"#,
                r#"base_model.3.doi = Str("1")"#,
            ],
        );
        check(r#"{"datasets":null}"#, "{}", &["dataset.count = U32(0)"]);
        check(r#"{"dataset":"wikitext"}"#, "{}", &["dataset.count = U32(1)", r#"dataset.0.name = Str("Wikitext")"#]);
    }

    #[test]
    fn recommended_sampling_is_kept() {
        check(
            "{}",
            r#"{"temperature":1,"top_k":20,"repetition_penalty":1.5,"top_p":null,"min_p":"x","do_sample":true}"#,
            &["sampling.top_k = I32(20)", "sampling.temp = F32(1.0)", "sampling.penalty_repeat = F32(1.5)"],
        );
    }
}
