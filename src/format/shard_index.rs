//! The text of an index of shards: which file holds which tensor.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};

use super::safetensors::parse_json;

/// Most files of one checkpoint.
pub(super) const MAX_SHARDS: usize = 2000;
/// Most tensors of one checkpoint. The largest have 100,000.
pub(super) const MAX_TENSORS: usize = 200_000;

/// Reads `model.safetensors.index.json`. The names of files are not checked.
pub(super) fn index_from_json(json: &[u8]) -> serde_json::Result<Index> {
    parse_json(json, IndexVisitor)
}

/// An index as it is written: names of files in order of first occurrence, and for each tensor the position of its file.
#[derive(Default)]
pub(super) struct Index {
    /// Names of files.
    pub(super) names: Vec<String>,
    /// Tensor → position in `names`; `None` without a `weight_map`.
    pub(super) places: Option<HashMap<String, usize>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct IndexVisitor;

impl<'de> Visitor<'de> for IndexVisitor {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Index, A::Error> {
        let mut index = Index::default();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if index.places.is_some() {
                return Err(de::Error::custom("weight_map appears twice"));
            } else {
                index = map.next_value()?;
            }
        }
        Ok(index)
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct WeightMap;
        impl<'de> Visitor<'de> for WeightMap {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors and file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Index, A::Error> {
                let mut names: Vec<String> = Vec::new();
                let mut idx_of: HashMap<String, usize> = HashMap::new();
                let mut places = HashMap::new();
                while let Some((Text(tensor), Text(file))) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    let idx = match idx_of.get(&*file) {
                        Some(&idx) => idx,
                        None if names.len() == MAX_SHARDS => {
                            return Err(de::Error::custom(format!("more than {MAX_SHARDS} files")));
                        }
                        None => {
                            idx_of.insert(file.clone().into_owned(), names.len());
                            names.push(file.into_owned());
                            names.len() - 1
                        }
                    };
                    if tensor.chars().any(char::is_control) {
                        return Err(de::Error::custom(format!("the name {tensor:?} with control characters")));
                    }
                    if places.len() == MAX_TENSORS {
                        return Err(de::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    if places.insert(tensor.clone().into_owned(), idx).is_some() {
                        return Err(de::Error::custom(format!("tensor {tensor} appears twice")));
                    }
                }
                Ok(Index { names, places: Some(places) })
            }
        }
        deserializer.deserialize_map(WeightMap)
    }
}
