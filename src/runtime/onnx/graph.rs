//! The network of a folder, with the keys and values of the tokens so far.

use std::borrow::Cow;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use ort::environment::Environment;
use ort::memory::MemoryInfo;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, Outlet, Tensor, TensorElementType, ValueType};

use crate::format::{GenaiConfig, GenaiNames};
use crate::path_text;

/// A network that is ready to compute.
pub(super) struct Graph {
    session: Session,
    names: GenaiNames,
    /// Whole numbers of 64 bits, or of 32 in old graphs.
    id_type: TensorElementType,
    has_mask: bool,
    has_positions: bool,
    cache: Cache,
    shape: CacheShape,
    /// Tokens that fit.
    n_tokens: usize,
}

/// Where the keys and values are.
enum Cache {
    /// In memory for all tokens that fit, which the graph writes new ones into: forgetting is writing over them.
    Shared(Box<IoBinding>),
    /// In the outputs of the last run, which are the inputs of the next, longer by its tokens.
    Growing(Vec<DynValue>),
}

/// Type and shape of the keys or values of a layer: `[1, n_heads, n_tokens, head_dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CacheShape {
    dtype: TensorElementType,
    n_heads: usize,
    head_dim: usize,
}

impl Graph {
    /// Loads the network of a folder for a text of at most `n_tokens`.
    pub(super) fn open(
        environment: &Environment,
        folder: &Path,
        config: &GenaiConfig,
        n_tokens: u32,
        n_threads: u32,
    ) -> Result<Self, String> {
        let path = folder.join(&config.model_file);
        let name = || path_text::shown(Path::new(&config.model_file));
        let session = session(environment, &path, n_threads).map_err(|error| {
            let made_for = match config.providers.as_slice() {
                [] => String::new(),
                providers => format!(" (the folder was made for {})", providers.join(" and ")),
            };
            format!("{} cannot be loaded{made_for}: {}", name(), path_text::one_line(error.message()))
        })?;
        let wrong = |what: String| format!("{}: {what}", name());
        let Interface { id_type, has_mask, has_positions, shape } = Interface::of(&session, config).map_err(&wrong)?;
        let (names, n_tokens) = (config.names.clone(), n_tokens as usize);
        let cache = if config.shares_buffers {
            let binding = bound(&session, &names, shape, n_tokens);
            Cache::Shared(Box::new(binding.map_err(|error| wrong(error.to_string()))?))
        } else {
            Cache::Growing(Vec::new())
        };
        let mut graph = Self { session, names, id_type, has_mask, has_positions, cache, shape, n_tokens };
        graph.forget_from(0)?;
        Ok(graph)
    }

    /// Forgets the tokens from `position` on.
    pub(super) fn forget_from(&mut self, position: usize) -> Result<(), String> {
        let Self { session, names, cache, shape, .. } = self;
        let Cache::Growing(past) = cache else { return Ok(()) };
        let kept = if past.is_empty() || position == 0 {
            let empty = |_| DynTensor::new(session.allocator(), shape.dtype, shape.dims(0)).map(DynTensor::into_dyn);
            names.caches.iter().map(empty).collect::<ort::Result<Vec<_>>>()
        } else {
            past.iter().map(|value| shape.first_tokens(value, position)).collect()
        };
        *past = kept.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Computes tokens that follow `n_past` others. Returns their logits, a row of `n_vocab` for each of them, or for the last one alone where
    /// the graph gives no more.
    pub(super) fn run(&mut self, tokens: &[u32], n_past: usize, n_vocab: usize) -> Result<Vec<f32>, String> {
        let n_all = n_past + tokens.len();
        if n_all > self.n_tokens {
            return Err(format!("the text has {n_all} tokens, only {} fit", self.n_tokens));
        }
        let logits = self.logits(tokens, n_past).map_err(|error| path_text::one_line(error.message()).into_owned())?;
        let rows = floats(&logits).map_err(|error| error.to_string())?;
        if rows.len() != tokens.len() * n_vocab && rows.len() != n_vocab {
            return Err(format!("{} logits for {} tokens, not rows of {n_vocab}", rows.len(), tokens.len()));
        }
        Ok(rows)
    }

    fn logits(&mut self, tokens: &[u32], n_past: usize) -> ort::Result<DynValue> {
        let n_all = n_past + tokens.len();
        let mut inputs = vec![(&self.names.input_ids, whole_numbers(tokens.iter().copied().map(i64::from), self.id_type)?)];
        if self.has_mask {
            inputs.push((&self.names.attention_mask, whole_numbers(std::iter::repeat_n(1, n_all), self.id_type)?));
        }
        if self.has_positions {
            let positions = (n_past..n_all).map(|position| i64::try_from(position).unwrap_or(i64::MAX));
            inputs.push((&self.names.position_ids, whole_numbers(positions, self.id_type)?));
        }
        let name = &self.names.logits;
        let logits = match &mut self.cache {
            Cache::Shared(binding) => {
                for (name, value) in inputs {
                    binding.bind_input(name, &value)?;
                }
                // Bound anew, because their shape changes.
                binding.bind_output_to_device(name, &MemoryInfo::default())?;
                self.session.run_binding(binding)?.remove(name)
            }
            Cache::Growing(past) => {
                let values = past.drain(..).map(SessionInputValue::from);
                let kept = self.names.caches.iter().map(|(past, _)| past).zip(values);
                let inputs = inputs.into_iter().map(|(name, value)| (name, SessionInputValue::from(value))).chain(kept);
                let inputs: Vec<(Cow<str>, SessionInputValue)> = inputs.map(|(name, value)| (Cow::from(name), value)).collect();
                let mut outputs = self.session.run(inputs)?;
                let lost = || ort::Error::new("it gave no keys and values");
                let present = self.names.caches.iter().map(|(_, present)| outputs.remove(present).ok_or_else(lost));
                *past = present.collect::<ort::Result<_>>()?;
                outputs.remove(name)
            }
        };
        logits.ok_or_else(|| ort::Error::new("it gave no logits"))
    }
}

/// What a graph wants and gives.
struct Interface {
    id_type: TensorElementType,
    has_mask: bool,
    has_positions: bool,
    shape: CacheShape,
}

impl Interface {
    /// Compares the inputs and outputs of a graph with the configuration.
    fn of(session: &Session, config: &GenaiConfig) -> Result<Self, String> {
        let names = &config.names;
        let find = |outlets: &[Outlet], wanted: &str| {
            outlets.iter().find(|outlet| outlet.name() == wanted).map(|found| found.dtype().clone())
        };
        let input = |wanted: &str| find(session.inputs(), wanted).ok_or_else(|| format!("its graph has no input {wanted:?}"));
        let output = |wanted: &str| find(session.outputs(), wanted).ok_or_else(|| format!("its graph has no output {wanted:?}"));
        let (id_type, _) = tensor(&input(&names.input_ids)?)?;
        let mut shape = None;
        for (past, present) in &names.caches {
            let found = cache_shape(&input(past)?, config)?;
            output(present)?;
            if *shape.get_or_insert(found) != found {
                return Err("its layers keep keys and values of different shapes".into());
            }
        }
        let shape = shape.ok_or("its graph keeps no keys and values")?;
        check_logits(&output(&names.logits)?, config.n_vocab as usize)?;
        let is_known = |name: &str| {
            [&names.input_ids, &names.attention_mask, &names.position_ids].iter().any(|known| *known == name)
                || names.caches.iter().any(|(past, _)| past == name)
        };
        match session.inputs().iter().find(|input| !is_known(input.name())) {
            Some(other) => Err(format!("its graph wants an input that Planish does not know: {:?}", other.name())),
            None => Ok(Self {
                id_type,
                has_mask: input(&names.attention_mask).is_ok(),
                has_positions: input(&names.position_ids).is_ok(),
                shape,
            }),
        }
    }
}

impl CacheShape {
    fn dims(self, n_tokens: usize) -> [usize; 4] {
        [1, self.n_heads, n_tokens, self.head_dim]
    }

    /// A copy of the first tokens' part of keys or values.
    fn first_tokens(self, value: &DynValue, n_tokens: usize) -> ort::Result<DynValue> {
        if self.dtype == TensorElementType::Float16 {
            let numbers = self.first_numbers(value.try_extract_tensor::<f16>()?.1, n_tokens);
            Tensor::from_array((self.dims(n_tokens), numbers)).map(Tensor::into_dyn)
        } else {
            let numbers = self.first_numbers(value.try_extract_tensor::<f32>()?.1, n_tokens);
            Tensor::from_array((self.dims(n_tokens), numbers)).map(Tensor::into_dyn)
        }
    }

    fn first_numbers<T: Copy>(self, numbers: &[T], n_tokens: usize) -> Vec<T> {
        let of_head = (numbers.len() / self.n_heads).max(1);
        let kept = n_tokens * self.head_dim;
        numbers.chunks_exact(of_head).flat_map(|head| head.get(..kept).unwrap_or(head)).copied().collect()
    }
}

fn session(environment: &Environment, path: &Path, n_threads: u32) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(n_threads.max(1) as usize)?
        .with_inter_threads(1)?
        // Every step of a text has another shape: a plan of the memory for each would be kept and never used again.
        .with_memory_pattern(false)?
        .commit_from_file(path)
}

/// A binding whose keys and values have memory for `n_tokens`, as inputs and as outputs at once.
fn bound(session: &Session, names: &GenaiNames, shape: CacheShape, n_tokens: usize) -> ort::Result<IoBinding> {
    let mut binding = session.create_binding()?;
    for (past, present) in &names.caches {
        let mut buffer = DynTensor::new(session.allocator(), shape.dtype, shape.dims(n_tokens))?;
        binding.bind_input(past, &buffer)?;
        binding.bind_output(present, &mut buffer)?;
    }
    Ok(binding)
}

/// Type and dimensions of a tensor; -1 for a dimension that is not fixed.
fn tensor(value: &ValueType) -> Result<(TensorElementType, Vec<i64>), String> {
    match value {
        ValueType::Tensor { ty, shape, .. } => Ok((*ty, shape.to_vec())),
        other => Err(format!("its graph wants {other} in place of a tensor")),
    }
}

/// What the graph says about its keys or values, completed by the configuration.
fn cache_shape(value: &ValueType, config: &GenaiConfig) -> Result<CacheShape, String> {
    let (dtype, dims) = tensor(value)?;
    if !matches!(dtype, TensorElementType::Float32 | TensorElementType::Float16) {
        return Err(format!("its keys and values are {dtype}, only F32 and F16 are known"));
    }
    let &[_, n_heads, _, head_dim] = dims.as_slice() else {
        return Err(format!("its keys and values have {} dimensions in place of 4", dims.len()));
    };
    let fixed = |of_graph: i64, stated: usize, what: &str| match usize::try_from(of_graph) {
        Ok(of_graph) if of_graph != stated => Err(format!("{what} is {of_graph} in the graph and {stated} in genai_config.json")),
        _ => Ok(stated),
    };
    let n_heads = fixed(n_heads, config.n_kv_heads, "the number of heads of keys and values")?;
    Ok(CacheShape { dtype, n_heads, head_dim: fixed(head_dim, config.head_dim, "the length of their vectors")? })
}

fn check_logits(value: &ValueType, n_vocab: usize) -> Result<(), String> {
    let (_, dims) = tensor(value)?;
    match dims.last().and_then(|&n| usize::try_from(n).ok()) {
        Some(n) if n != n_vocab => {
            Err(format!("its graph gives {n} logits for a token, genai_config.json has a vocabulary of {n_vocab}"))
        }
        _ => Ok(()),
    }
}

/// A tensor `[1, n]` of whole numbers.
fn whole_numbers(numbers: impl Iterator<Item = i64>, dtype: TensorElementType) -> ort::Result<DynValue> {
    if dtype == TensorElementType::Int32 {
        let numbers: Vec<i32> = numbers.map(|number| i32::try_from(number).unwrap_or(i32::MAX)).collect();
        return Tensor::from_array(([1, numbers.len()], numbers)).map(Tensor::into_dyn);
    }
    let numbers: Vec<i64> = numbers.collect();
    Tensor::from_array(([1, numbers.len()], numbers)).map(Tensor::into_dyn)
}

/// The numbers of a tensor in F32, which F16 is widened to.
fn floats(value: &DynValue) -> ort::Result<Vec<f32>> {
    match value.try_extract_tensor::<f32>() {
        Ok((_, numbers)) => Ok(numbers.to_vec()),
        Err(_) => value.try_extract_tensor::<f16>().map(|(_, numbers)| numbers.to_f32_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tokens_of_each_head_are_kept() {
        let shape = CacheShape { dtype: TensorElementType::Float32, n_heads: 2, head_dim: 2 };
        // Three tokens of two heads.
        let numbers = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
        assert_eq!(shape.first_numbers(&numbers, 2), [1, 2, 3, 4, 11, 12, 13, 14]);
        assert_eq!(shape.first_numbers(&numbers, 3), numbers);
    }
}
