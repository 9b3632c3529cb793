//! Small tokenizers of every kind against what `convert_hf_to_gguf.py` makes of them (`tests/golden/make_tokenizer_golden.py`).

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::tokenizer_metadata;
use crate::format::read_checkpoint;
use crate::model::{Array, Text, Value};

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers").join(case)
}

fn expected(case: &str) -> Vec<(String, Value)> {
    let json: Json = serde_json::from_slice(&std::fs::read(folder(case).join("expected.json")).unwrap()).unwrap();
    json["entries"].as_array().unwrap().iter().map(entry).collect()
}

#[allow(clippy::cast_possible_truncation, reason = "the numbers were written from these types")]
fn entry(entry: &Json) -> (String, Value) {
    let (key, kind, value) = (entry[0].as_str().unwrap(), entry[1].as_str().unwrap(), &entry[2]);
    let items = || value.as_array().unwrap().iter();
    let value = match kind {
        "STRING" => Value::Str(Text::from(value.as_str().unwrap())),
        "BOOL" => Value::Bool(value.as_bool().unwrap()),
        "UINT32" => Value::U32(value.as_u64().unwrap() as u32),
        "ARRAY[STRING]" => Value::Array(Array::Str(items().map(|item| Text::from(item.as_str().unwrap())).collect())),
        "ARRAY[INT32]" => Value::Array(Array::I32(items().map(|item| item.as_i64().unwrap() as i32).collect())),
        "ARRAY[FLOAT32]" => Value::Array(Array::F32(items().map(|item| item.as_f64().unwrap() as f32).collect())),
        other => panic!("{key} is {other}"),
    };
    (key.into(), value)
}

/// Differences, each with its key and the first place in an array.
fn differences(found: &[(String, Value)], expected: &[(String, Value)]) -> Vec<String> {
    let keys = |entries: &[(String, Value)]| entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let mut all = Vec::new();
    if keys(found) != keys(expected) {
        all.push(format!("keys {:?}, expected {:?}", keys(found), keys(expected)));
    }
    for (key, value) in expected {
        let Some((_, own)) = found.iter().find(|(own, _)| own == key) else { continue };
        let first = |a: Vec<String>, b: Vec<String>| {
            let place = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
            format!("{key}: {} and {} items, at {place} {:?}, expected {:?}", a.len(), b.len(), a.get(place), b.get(place))
        };
        let texts = |value: &Value| match value {
            Value::Array(Array::Str(items)) => items.iter().map(|item| item.lossy().into_owned()).collect(),
            Value::Array(Array::I32(items)) => items.iter().map(ToString::to_string).collect(),
            Value::Array(Array::F32(items)) => items.iter().map(ToString::to_string).collect(),
            other => vec![format!("{other:?}")],
        };
        if own != value {
            all.push(first(texts(own), texts(value)));
        }
    }
    all
}

#[test]
fn key_values_are_those_of_the_converter() {
    let check = |case: &str| {
        let found = tokenizer_metadata(&read_checkpoint(&folder(case)).unwrap()).unwrap();
        let differences = differences(&found.entries, &expected(case));
        assert!(differences.is_empty(), "{case}:\n{}\nwarnings: {:?}", differences.join("\n"), found.warnings);
    };
    for case in ["llama3", "qwen2", "gpt2-parts", "named-templates", "llama2", "gemma2", "phi3", "bert"] {
        check(case);
    }
}

#[test]
fn scores_follow_the_merges_where_the_converter_has_none() {
    let found = tokenizer_metadata(&read_checkpoint(&folder("llama-hf")).unwrap()).unwrap();
    let expected = expected("llama-hf");
    let others = |entries: &[(String, Value)]| {
        entries.iter().filter(|(key, _)| key != "tokenizer.ggml.scores").cloned().collect::<Vec<_>>()
    };
    let differences = differences(&others(&found.entries), &others(&expected));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let scores_of = |entries: &[(String, Value)]| match entries.iter().find(|(key, _)| key == "tokenizer.ggml.scores") {
        Some((_, Value::Array(Array::F32(scores)))) => scores.clone(),
        other => panic!("{other:?}"),
    };
    assert!(scores_of(&expected).iter().all(|&score| (score + 1000.0).abs() < f32::EPSILON));
    // The SentencePiece model that this tokenizer.json was made from ranks its merged pieces by their id.
    let (scores, original) = (scores_of(&found.entries), scores_of(&self::expected("llama2")));
    let merged: Vec<usize> = (0..400).filter(|&id| original[id] < 0.0).collect();
    let ranked = |scores: &[f32]| {
        let mut ids = merged.clone();
        ids.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        ids.into_iter().take(50).collect::<Vec<_>>()
    };
    assert_eq!(ranked(&scores), ranked(&original));
}
