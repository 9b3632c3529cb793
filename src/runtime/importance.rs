//! The arithmetic of an importance matrix: squares of activations, summed by column of the weights that they are multiplied by.
//!
//! Source: `IMatrixCollector::collect_imatrix` in tools/imatrix/imatrix.cpp, llama.cpp of 2026-08-21. Unlike there, the head is
//! counted too, even where it is the embeddings, and so are small batches; sums are kept in double precision.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};

use super::ImatrixTensor;
use super::attention_mass::{PositionWeights, Received};
use super::moment_sites::MomentSites;
use crate::format::ColumnSums;

/// Numbers as a tensor of ggml has them: up to four dimensions, the row first, with a stride for each.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// From the first to the last number, gaps included.
    pub bytes: &'a [u8],
    /// How many there are along each dimension.
    pub shape: [usize; 4],
    /// Bytes from one to the next along each dimension.
    pub strides: [usize; 4],
}

/// How an activation is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
}

/// What weights are multiplied by: columns, rows, matrices, and batches of those.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// The numbers.
    pub numbers: Strided<'a>,
    /// How they are stored.
    pub kind: ActivationType,
}

impl<'a> Strided<'a> {
    /// Where the number at this place begins; `None` for a place that no memory has.
    fn start(&self, place: [usize; 4]) -> Option<usize> {
        let mut steps = place.iter().zip(&self.strides).map(|(idx, stride)| idx.checked_mul(*stride));
        steps.try_fold(0_usize, |sum, step| sum.checked_add(step?))
    }

    /// `N` bytes of the number at this place; `None` beyond the end.
    pub(super) fn at<const N: usize>(&self, place: [usize; 4]) -> Option<&'a [u8; N]> {
        self.bytes.get(self.start(place)?..)?.first_chunk()
    }

    /// A row of numbers of four bytes; `None` beyond the end, and for a row with gaps.
    pub(super) fn row(&self, [row_idx, matrix_idx, batch_idx]: [usize; 3]) -> Option<&'a [[u8; 4]]> {
        let start = self.start([0, row_idx, matrix_idx, batch_idx]).filter(|_| self.strides[0] == 4)?;
        let bytes = self.bytes.get(start..start.checked_add(self.shape[0].checked_mul(4)?)?)?;
        Some(bytes.as_chunks().0)
    }

    /// All rows of all matrices and batches.
    fn n_rows(&self) -> usize {
        self.shape[1] * self.shape[2] * self.shape[3]
    }
}

impl Activations<'_> {
    /// Puts a row into `row`; `None` when it lies beyond the end.
    pub(super) fn read_row(&self, [row_idx, matrix_idx, batch_idx]: [usize; 3], row: &mut Vec<f32>) -> Option<()> {
        row.clear();
        let numbers = &self.numbers;
        let place = |column| [column, row_idx, matrix_idx, batch_idx];
        // Nearly all activations are stored like this.
        if self.kind == ActivationType::F32 && numbers.strides[0] == 4 {
            row.extend(numbers.row([row_idx, matrix_idx, batch_idx])?.iter().map(|&bytes| f32::from_le_bytes(bytes)));
            return Some(());
        }
        for column in 0..numbers.shape[0] {
            row.push(match self.kind {
                ActivationType::F32 => f32::from_le_bytes(*numbers.at(place(column))?),
                ActivationType::F16 => f16::from_le_bytes(*numbers.at(place(column))?).to_f32(),
                ActivationType::BF16 => bf16::from_le_bytes(*numbers.at(place(column))?).to_f32(),
            });
        }
        Some(())
    }
}

impl Activations<'_> {
    /// The rows of all matrices and batches, one after the other.
    pub(super) fn all_rows(&self) -> Result<Vec<f32>, String> {
        let [n_columns, n_rows, n_matrices, n_batches] = self.numbers.shape;
        let mut all = Vec::with_capacity(n_columns * n_rows);
        let mut row = Vec::new();
        for batch_idx in 0..n_batches {
            for matrix_idx in 0..n_matrices {
                for row_idx in 0..n_rows {
                    self.read_row([row_idx, matrix_idx, batch_idx], &mut row).ok_or("its activations end early")?;
                    all.extend_from_slice(&row);
                }
            }
        }
        Ok(all)
    }
}

/// What was counted of one tensor so far.
#[derive(Debug, Clone, Default)]
struct Running {
    /// Sum of squares for each column of each matrix.
    sums: Vec<f64>,
    /// Rows counted: a number for each expert, or one for a tensor without experts.
    counts: Vec<u64>,
}

impl Running {
    fn add(&mut self, matrix_idx: usize, row: &[f32], weight: f64) -> Result<(), String> {
        let start = matrix_idx * row.len();
        let sums = self.sums.get_mut(start..start + row.len()).ok_or("it has more matrices than its header says")?;
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += weight * f64::from(*x) * f64::from(*x);
        }
        Ok(())
    }

    /// Each column's part of its expert's importance, expert after expert; zeros for an expert that was not reached.
    #[allow(clippy::cast_possible_truncation, reason = "parts of one")]
    fn parts(&self) -> Vec<f32> {
        let n_columns = self.sums.len().checked_div(self.counts.len()).unwrap_or(0).max(1);
        let experts = self.sums.chunks(n_columns).map(|sums| (sums, sums.iter().sum::<f64>()));
        experts
            .flat_map(|(sums, whole)| sums.iter().map(move |sum| if whole > 0.0 { (sum / whole) as f32 } else { 0.0 }))
            .collect()
    }
}

/// Whose rows wait for the attention of their layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Keys,
    Values,
}

impl Side {
    /// The weights that count for it.
    fn of(self, weights: &PositionWeights) -> &[f64] {
        if self == Self::Keys { &weights.keys } else { &weights.values }
    }
}

/// Activations of a tensor that count by attention, until it is known.
#[derive(Debug)]
struct Waiting {
    idx: usize,
    side: Side,
    /// One row for each token.
    rows: Vec<f32>,
}

/// Sums of all tensors of a model while it runs.
#[derive(Debug)]
pub struct Collector {
    tensors: Vec<ImatrixTensor>,
    idx_by_name: HashMap<String, usize>,
    running: Vec<Running>,
    /// The first thing that went wrong; nothing is counted after it.
    problem: Option<String>,
    row: Vec<f32>,
    /// The parts of each column at the last point of comparison.
    before: Option<Vec<Vec<f32>>>,
    attention: Option<Attention>,
    moments: Option<MomentSites>,
    /// Products of this piece of text that were counted.
    n_taken: usize,
    /// How many there are in each; `None` while the first is computed.
    n_expected: Option<usize>,
}

/// Keys and values count by the attention that their tokens receive.
#[derive(Debug, Default)]
struct Attention {
    /// True for encoders, whose tokens look at later ones too.
    looks_ahead: bool,
    /// By layer.
    waiting: HashMap<u64, Vec<Waiting>>,
}

impl Collector {
    /// A collector that has counted nothing yet.
    #[must_use]
    pub fn new(tensors: Vec<ImatrixTensor>) -> Self {
        let idx_by_name = tensors.iter().enumerate().map(|(idx, tensor)| (tensor.name.clone(), idx)).collect();
        let running = vec![Running::default(); tensors.len()];
        Self {
            tensors,
            idx_by_name,
            running,
            problem: None,
            row: Vec::new(),
            before: None,
            attention: None,
            moments: None,
            n_taken: 0,
            n_expected: None,
        }
    }

    /// The same, with keys and values counted by the attention that their tokens receive, where the runtime shows it; see
    /// [`PositionWeights`]. Texts must be computed in one piece each.
    #[must_use]
    pub fn by_attention(self, looks_ahead: bool) -> Self {
        Self { attention: Some(Attention { looks_ahead, waiting: HashMap::new() }), ..self }
    }

    /// The same, with second moments. Keys and values have some only where they count by attention and the runtime shows it: moments in
    /// which all tokens count the same make them worse than none.
    #[must_use]
    pub fn with_moments(self, moments: MomentSites) -> Self {
        Self { moments: Some(moments), ..self }
    }

    /// The second moments, for a collector that collects them.
    #[must_use]
    pub fn moments(&self) -> Option<&MomentSites> {
        self.moments.as_ref()
    }

    /// Begins a piece of text: every piece has the same products.
    pub fn start_piece(&mut self) {
        if self.n_taken > 0 {
            self.n_expected = Some(self.n_taken);
        }
        self.n_taken = 0;
    }

    /// True when nothing of this piece is still wanted; never in the first one, which shows what there is.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        let is_waiting = self.attention.as_ref().is_some_and(|attention| !attention.waiting.is_empty());
        self.problem.is_some() || (!is_waiting && self.n_expected.is_some_and(|n| self.n_taken >= n))
    }

    /// True where keys and values count by attention.
    #[must_use]
    pub fn is_by_attention(&self) -> bool {
        self.attention.is_some()
    }

    /// True while keys or values of this layer wait for its attention.
    #[must_use]
    pub fn awaits_attention(&self, layer_idx: u64) -> bool {
        self.problem.is_none() && self.attention.as_ref().is_some_and(|attention| attention.waiting.contains_key(&layer_idx))
    }

    /// Counts the keys and values of a layer by its attention: F32, `[n_positions, n_tokens, n_heads, 1]`.
    pub fn take_attention(&mut self, layer_idx: u64, numbers: &Strided) {
        let Some(attention) = &mut self.attention else { return };
        let Some(all) = attention.waiting.remove(&layer_idx) else { return };
        let n_groups = self.moments.as_ref().map_or(1, MomentSites::n_groups);
        let received = heads(numbers, n_groups).map(|heads| Received::of(&heads, numbers.shape[1], attention.looks_ahead));
        let received: Vec<Received> = received.collect::<Option<_>>().unwrap_or_default();
        let whole = received.split_first().map(|(first, others)| {
            let mut whole = first.clone();
            for other in others {
                whole.add_all(other);
            }
            whole.weights()
        });
        let parts: Vec<PositionWeights> = received.iter().map(Received::weights).collect();
        for waiting in all {
            let of_side = whole.as_ref().map(|of| waiting.side.of(of));
            let is_whole = |weights: &&[f64]| weights.len() * self.tensors[waiting.idx].n_columns == waiting.rows.len();
            let of_side = of_side.filter(is_whole);
            self.count(&waiting, of_side);
            if let (Some(moments), Some(_)) = (&mut self.moments, of_side) {
                let parts: Vec<&[f64]> = parts.iter().map(|of| waiting.side.of(of)).collect();
                moments.add_parts(&self.tensors[waiting.idx].name, &waiting.rows, &parts);
            }
        }
    }

    /// Ends a text: keys and values whose attention was not shown count as everything else does.
    pub fn end_text(&mut self) {
        let waiting: Vec<Waiting> =
            self.attention.iter_mut().flat_map(|attention| attention.waiting.drain()).flat_map(|row| row.1).collect();
        for waiting in waiting {
            self.count(&waiting, None);
        }
    }

    fn count(&mut self, waiting: &Waiting, weights: Option<&[f64]>) {
        let n_columns = self.tensors[waiting.idx].n_columns.max(1);
        let n_tokens = waiting.rows.len() / n_columns;
        let counted = self.start(waiting.idx, n_columns, 1).and_then(|()| {
            let running = &mut self.running[waiting.idx];
            for (token, row) in waiting.rows.chunks_exact(n_columns).enumerate() {
                running.add(0, row, weights.map_or(1.0, |weights| weights[token]))?;
            }
            running.counts.iter_mut().for_each(|count| *count += n_tokens as u64);
            check_finite(&running.sums)
        });
        if let Err(problem) = counted {
            self.fail(format!("{}: {problem}", self.tensors[waiting.idx].name));
        }
    }

    /// Keeps the rows of keys' or values' weights until the attention of their layer is known; false for other tensors.
    fn defer(&mut self, idx: usize, activations: &Activations) -> Result<bool, String> {
        let tensor = &self.tensors[idx];
        let [n_columns, _, n_matrices, n_batches] = activations.numbers.shape;
        let place = layer_and_side(&tensor.name).filter(|_| (tensor.n_matrices, n_matrices, n_batches) == (1, 1, 1));
        let (Some(attention), Some((layer_idx, side))) = (&mut self.attention, place) else { return Ok(false) };
        if tensor.n_columns != n_columns {
            return Ok(false);
        }
        let rows = activations.all_rows()?;
        attention.waiting.entry(layer_idx).or_default().push(Waiting { idx, side, rows });
        Ok(true)
    }

    /// True for a tensor that is counted; false for all once something has gone wrong.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.problem.is_none() && self.idx_by_name.contains_key(name)
    }

    /// What went wrong, with the tensor's name.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Notes what went wrong; only the first is kept.
    pub fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// Counts one product of the weights `name` with activations. `experts` has the indices of the experts that each token
    /// chose; each of them counts its own row.
    pub fn take(&mut self, name: &str, activations: &Activations, experts: Option<&Strided>) {
        let Some(&idx) = self.idx_by_name.get(name).filter(|_| self.problem.is_none()) else { return };
        self.n_taken += 1;
        let taken = match experts {
            None => self
                .defer(idx, activations)
                .and_then(|is_waiting| if is_waiting { Ok(()) } else { self.take_dense(idx, activations) }),
            Some(experts) => self.take_experts(idx, activations, experts),
        };
        if let Err(problem) = taken {
            self.fail(format!("{name}: {problem}"));
        }
    }

    /// Makes room at the first use, with one count for all matrices or one for each.
    fn start(&mut self, idx: usize, n_columns: usize, n_counts: usize) -> Result<(), String> {
        let (Some(tensor), Some(running)) = (self.tensors.get(idx), self.running.get_mut(idx)) else { return Ok(()) };
        if tensor.n_columns != n_columns {
            return Err(format!("it is multiplied by {n_columns} numbers and has {} columns", tensor.n_columns));
        }
        if running.sums.is_empty() {
            running.sums = vec![0.0; tensor.n_columns * tensor.n_matrices];
            running.counts = vec![0; n_counts];
        } else if let [count] = running.counts[..] {
            // Used in both ways: what was counted for all is counted for each.
            running.counts.resize(n_counts, count);
        }
        Ok(())
    }

    fn take_dense(&mut self, idx: usize, activations: &Activations) -> Result<(), String> {
        let [n_columns, n_rows, n_matrices, n_batches] = activations.numbers.shape;
        self.start(idx, n_columns, 1)?;
        let (tensor, running) = (&self.tensors[idx], &mut self.running[idx]);
        // A weight of one matrix serves all: `i % 1`.
        let (n_own, n_own_batches) = (tensor.n_matrices_of_batch.max(1), tensor.n_matrices / tensor.n_matrices_of_batch.max(1));
        let mut moments = self.moments.as_mut().filter(|_| tensor.n_matrices == 1 && !makes_keys_or_values(&tensor.name));
        let mut rows = Vec::new();
        for batch_idx in 0..n_batches {
            for matrix_idx in 0..n_matrices {
                let own = (batch_idx % n_own_batches.max(1)) * n_own + matrix_idx % n_own;
                for row_idx in 0..n_rows {
                    activations.read_row([row_idx, matrix_idx, batch_idx], &mut self.row).ok_or("its activations end early")?;
                    running.add(own, &self.row, 1.0)?;
                    if moments.is_some() {
                        rows.extend_from_slice(&self.row);
                    }
                }
            }
        }
        if let Some(moments) = &mut moments {
            moments.add(&tensor.name, n_columns, rows);
        }
        let n = (activations.numbers.n_rows() / tensor.n_matrices.max(1)) as u64;
        running.counts.iter_mut().for_each(|count| *count += n);
        check_finite(&running.sums)
    }

    fn take_experts(&mut self, idx: usize, activations: &Activations, experts: &Strided) -> Result<(), String> {
        let [n_columns, n_rows, n_tokens, n_batches] = activations.numbers.shape;
        let (name, n_experts) = (self.tensors[idx].name.clone(), self.tensors[idx].n_matrices);
        if n_batches != 1 || experts.shape[1] != n_tokens {
            return Err("its experts and its tokens do not go together".into());
        }
        let mut rows = Vec::new();
        self.start(idx, n_columns, n_experts)?;
        let running = &mut self.running[idx];
        for token_idx in 0..n_tokens {
            for choice_idx in 0..experts.shape[0] {
                let expert = experts.at([choice_idx, token_idx, 0, 0]).ok_or("its experts end early")?;
                let expert = i32::from_le_bytes(*expert);
                let expert_idx = usize::try_from(expert).ok().filter(|&idx| idx < n_experts);
                let expert_idx = expert_idx.ok_or_else(|| format!("expert {expert} of {n_experts}"))?;
                // The same row for all experts of a token, or one for each.
                let row_idx = choice_idx % n_rows.max(1);
                activations.read_row([row_idx, token_idx, 0], &mut self.row).ok_or("its activations end early")?;
                running.add(expert_idx, &self.row, 1.0)?;
                running.counts[expert_idx] += 1;
                if self.moments.is_some() {
                    rows.extend_from_slice(&self.row);
                }
            }
        }
        if let Some(moments) = &mut self.moments {
            moments.add(&name, n_columns, rows);
        }
        check_finite(&running.sums)
    }

    /// How much of the importance has moved to other columns since the last call; `None` the first time.
    ///
    /// It is the median over the tensors of the total variation distance between the old and the new parts of a tensor's
    /// columns: half the sum of the differences, 0 if nothing moved, 1 if all did. Experts count by the rows that reached them,
    /// and in full when none had before.
    pub fn change(&mut self) -> Option<f64> {
        let now: Vec<Vec<f32>> = self.running.iter().map(Running::parts).collect();
        let before = self.before.replace(now)?;
        let now = self.before.as_ref()?;
        let tensors = self.running.iter().zip(before.iter().zip(now)).filter(|(running, _)| !running.sums.is_empty());
        let mut changes: Vec<f64> = tensors.map(|(running, (before, now))| moved(&running.counts, before, now)).collect();
        changes.sort_by(f64::total_cmp);
        changes.get(changes.len() / 2).copied()
    }

    /// Entries of all tensors that were multiplied by something.
    ///
    /// # Errors
    /// The name of a tensor whose sums are too large for single precision.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as the file has them")]
    pub fn entries(&self) -> Result<BTreeMap<String, ColumnSums>, String> {
        let mut entries = BTreeMap::new();
        for (tensor, running) in self.tensors.iter().zip(&self.running).filter(|(_, running)| !running.sums.is_empty()) {
            let sums: Vec<f32> = running.sums.iter().map(|&sum| sum as f32).collect();
            if !sums.iter().all(|sum| sum.is_finite()) {
                return Err(format!("{}: its activations are too large to be summed", tensor.name));
            }
            let counts = running.counts.iter().map(|&count| count as f32).collect();
            entries.insert(tensor.name.clone(), ColumnSums { sums, counts });
        }
        Ok(entries)
    }
}

/// Layer and side of weights that make keys or values: `(3, Values)` for `blk.3.attn_v.weight`.
fn layer_and_side(name: &str) -> Option<(u64, Side)> {
    let (layer_idx, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let side = match rest {
        "attn_k.weight" => Side::Keys,
        "attn_v.weight" => Side::Values,
        _ => return None,
    };
    Some((layer_idx.parse().ok()?, side))
}

/// True for weights that make keys or values, alone or beside queries: `attn_k`, `attn_v`, `attn_qkv`, `attn_kv_b`.
fn makes_keys_or_values(name: &str) -> bool {
    ["attn_k", "attn_v", "attn_qkv"].iter().any(|part| name.contains(part))
}

/// The attention of `n_groups` groups of heads; of heads that cannot be shared out so, all of them for each group.
fn heads<'a>(attention: &Strided<'a>, n_groups: usize) -> impl Iterator<Item = Strided<'a>> + use<'a> {
    let attention = *attention;
    let n_heads = attention.shape[2];
    let n_each = if n_heads.is_multiple_of(n_groups.max(1)) { n_heads / n_groups.max(1) } else { 0 };
    (0..n_groups).map(move |group_idx| {
        let bytes = attention.bytes.get(group_idx * n_each * attention.strides[2]..).filter(|_| n_each > 0);
        let [n_positions, n_tokens, _, n_streams] = attention.shape;
        bytes.map_or(attention, |bytes| Strided { bytes, shape: [n_positions, n_tokens, n_each, n_streams], ..attention })
    })
}

fn check_finite(sums: &[f64]) -> Result<(), String> {
    if sums.iter().all(|sum| sum.is_finite()) { Ok(()) } else { Err("it is multiplied by numbers that are not finite".into()) }
}

/// Total variation distance, experts weighted by their counts; `before` is empty for a tensor that was not reached.
#[allow(clippy::cast_precision_loss, reason = "a part of one")]
fn moved(counts: &[u64], before: &[f32], now: &[f32]) -> f64 {
    let n_columns = now.len().checked_div(counts.len()).unwrap_or(0).max(1);
    let n_all = counts.iter().sum::<u64>().max(1) as f64;
    let experts = counts.iter().zip(now.chunks(n_columns)).enumerate();
    let changes = experts.map(|(idx, (&count, now))| {
        let start = idx * n_columns;
        let before = before.get(start..start + now.len()).filter(|before| before.iter().any(|part| *part > 0.0));
        let difference = |before: &[f32]| before.iter().zip(now).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / 2.0;
        before.map_or(1.0, difference) * count as f64 / n_all
    });
    changes.sum()
}

/// Numbers of chunks after which importances are compared, each with the one before: `n_chunks` and its halves, rounded down,
/// to 1; none for 0. The last comparison then tells what the last doubling of the text has changed, or a little more than that
/// for an odd number.
#[must_use]
pub fn points(n_chunks: u32) -> Vec<u32> {
    let mut points: Vec<u32> = std::iter::successors(Some(n_chunks), |n| Some(n / 2)).take_while(|&n| n > 0).collect();
    points.reverse();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, n_columns: usize, n_matrices: usize) -> ImatrixTensor {
        ImatrixTensor { name: name.into(), n_columns, n_matrices, n_matrices_of_batch: n_matrices }
    }

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Without gaps.
    fn dense(bytes: &[u8], shape: [usize; 4], width: usize) -> Strided<'_> {
        let strides = [width, width * shape[0], width * shape[0] * shape[1], width * shape[0] * shape[1] * shape[2]];
        Strided { bytes, shape, strides }
    }

    fn f32s(bytes: &[u8], shape: [usize; 4]) -> Activations<'_> {
        Activations { numbers: dense(bytes, shape, 4), kind: ActivationType::F32 }
    }

    #[track_caller]
    fn check(collector: &Collector, name: &str, sums: &[f32], counts: &[f32]) {
        assert_eq!(collector.problem(), None);
        assert_eq!(collector.entries().unwrap()[name], ColumnSums { sums: sums.into(), counts: counts.into() });
    }

    #[test]
    fn squares_are_summed_by_column_over_all_rows() {
        let mut collector = Collector::new(vec![tensor("a", 2, 1), tensor("unused", 2, 1)]);
        assert!(collector.wants("a") && !collector.wants("b"));
        collector.take("a", &f32s(&bytes(&[1.0, 2.0, -3.0, 0.5]), [2, 2, 1, 1]), None);
        check(&collector, "a", &[10.0, 4.25], &[2.0]);
        collector.take("a", &f32s(&bytes(&[1.0, 0.0, 0.0, 0.0, 2.0, 1.0]), [2, 1, 3, 1]), None);
        check(&collector, "a", &[15.0, 5.25], &[5.0]);
        collector.take("b", &f32s(&bytes(&[1.0]), [1, 1, 1, 1]), None);
        assert_eq!(collector.entries().unwrap().len(), 1, "what was not reached has no entry");
    }

    #[test]
    fn matrices_of_a_dense_tensor_have_sums_of_their_own_and_one_count() {
        let mut collector = Collector::new(vec![tensor("a", 2, 2)]);
        // Four heads share two matrices in turns.
        collector.take("a", &f32s(&bytes(&[1.0, 0.0, 2.0, 0.0, 3.0, 1.0, 0.0, 4.0]), [2, 1, 4, 1]), None);
        check(&collector, "a", &[10.0, 1.0, 4.0, 16.0], &[2.0]);
    }

    #[test]
    fn each_expert_counts_the_tokens_that_chose_it() {
        let ids: Vec<u8> = [2_i32, 0, 2, 1].iter().flat_map(|id| id.to_le_bytes()).collect();
        let experts = dense(&ids, [2, 2, 1, 1], 4);
        // One row for each token, whoever is chosen.
        let mut collector = Collector::new(vec![tensor("up", 2, 4)]);
        collector.take("up", &f32s(&bytes(&[1.0, 2.0, 3.0, 4.0]), [2, 1, 2, 1]), Some(&experts));
        check(&collector, "up", &[1.0, 4.0, 9.0, 16.0, 10.0, 20.0, 0.0, 0.0], &[1.0, 1.0, 2.0, 0.0]);
        // One row for each choice.
        let mut collector = Collector::new(vec![tensor("down", 1, 4)]);
        collector.take("down", &f32s(&bytes(&[1.0, 2.0, 3.0, 4.0]), [1, 2, 2, 1]), Some(&experts));
        check(&collector, "down", &[4.0, 16.0, 10.0, 0.0], &[1.0, 1.0, 2.0, 0.0]);
        // Choices lie in a wider table.
        let wide: Vec<u8> = [2_i32, 9, 9, 0, 9, 9].iter().flat_map(|id| id.to_le_bytes()).collect();
        let experts = Strided { bytes: &wide, shape: [1, 2, 1, 1], strides: [4, 12, 24, 24] };
        collector.take("down", &f32s(&bytes(&[1.0, 1.0]), [1, 1, 2, 1]), Some(&experts));
        check(&collector, "down", &[5.0, 16.0, 11.0, 0.0], &[2.0, 1.0, 3.0, 0.0]);
    }

    #[test]
    fn rows_with_gaps_and_in_half_precision_are_read() {
        let mut collector = Collector::new(vec![tensor("a", 2, 1)]);
        let numbers = bytes(&[1.0, 7.0, 2.0, 7.0, 3.0, 7.0, 4.0]);
        let numbers = Strided { bytes: &numbers, shape: [2, 2, 1, 1], strides: [8, 16, 32, 32] };
        collector.take("a", &Activations { numbers, kind: ActivationType::F32 }, None);
        check(&collector, "a", &[10.0, 20.0], &[2.0]);
        let half: Vec<u8> = [2.0, 0.5].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        collector.take("a", &Activations { numbers: dense(&half, [2, 1, 1, 1], 2), kind: ActivationType::F16 }, None);
        let brain: Vec<u8> = [1.0, 2.0].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        collector.take("a", &Activations { numbers: dense(&brain, [2, 1, 1, 1], 2), kind: ActivationType::BF16 }, None);
        check(&collector, "a", &[15.0, 24.25], &[4.0]);
    }

    #[test]
    fn what_cannot_be_counted_names_the_tensor_and_ends_the_count() {
        let check = |numbers: &[f32], shape, experts: Option<&[i32]>, expected: &str| {
            let mut collector = Collector::new(vec![tensor("a", 2, 2)]);
            let ids: Option<Vec<u8>> = experts.map(|ids| ids.iter().flat_map(|id| id.to_le_bytes()).collect());
            let ids = ids.as_ref().map(|ids| dense(ids, [1, ids.len() / 4, 1, 1], 4));
            let numbers = bytes(numbers);
            collector.take("a", &f32s(&numbers, shape), ids.as_ref());
            assert!(
                collector.problem().is_some_and(|problem| problem.starts_with("a: ") && problem.contains(expected)),
                "{collector:?}"
            );
            assert!(!collector.wants("a"));
        };
        check(&[1.0, f32::NAN], [2, 1, 1, 1], None, "not finite");
        check(&[1.0, f32::INFINITY], [2, 1, 1, 1], Some(&[1]), "not finite");
        check(&[1.0], [1, 1, 1, 1], None, "multiplied by 1 numbers and has 2 columns");
        check(&[1.0], [2, 1, 1, 1], None, "end early");
        check(&[1.0, 1.0], [2, 1, 1, 1], Some(&[2]), "expert 2 of 2");
        check(&[1.0, 1.0], [2, 1, 1, 1], Some(&[-1]), "expert -1 of 2");
        check(&[1.0, 1.0], [2, 1, 1, 1], Some(&[0, 1]), "do not go together");
        let mut collector = Collector::new(vec![tensor("a", 1, 1)]);
        collector.take("a", &f32s(&bytes(&[1e30]), [1, 1, 1, 1]), None);
        assert_eq!(collector.entries(), Err("a: its activations are too large to be summed".into()));
    }

    #[test]
    fn keys_and_values_count_by_attention_and_others_do_not() {
        let names = ["blk.0.attn_v.weight", "blk.0.attn_k.weight", "blk.0.attn_q.weight", "blk.1.attn_v.weight"];
        let mut collector = Collector::new(names.map(|name| tensor(name, 1, 1)).to_vec()).by_attention(false);
        let rows = bytes(&[2.0, 1.0]);
        for name in names {
            collector.take(name, &f32s(&rows, [1, 2, 1, 1]), None);
        }
        assert!(collector.awaits_attention(0) && collector.awaits_attention(1) && !collector.awaits_attention(2));
        let attention = bytes(&[1.0, 0.0, 0.75, 0.25]);
        collector.take_attention(0, &dense(&attention, [2, 2, 1, 1], 4));
        assert!(!collector.awaits_attention(0));
        // The layer whose attention nobody showed counts evenly.
        collector.end_text();
        let values = &collector.entries().unwrap()["blk.0.attn_v.weight"];
        let expected = 0.9 * (1.75 * 4.0 + 0.25) + 0.1 * 5.0;
        assert!((values.sums[0] - expected).abs() < 1e-5 && values.counts == [2.0], "{values:?}");
        for name in &names[1..] {
            check(&collector, name, &[5.0], &[2.0]);
        }
    }

    #[test]
    fn pieces_after_the_first_end_with_the_last_product() {
        let names = ["blk.0.attn_v.weight", "blk.0.ffn_up.weight"];
        let mut collector = Collector::new(names.map(|name| tensor(name, 1, 1)).to_vec()).by_attention(false);
        let rows = bytes(&[1.0]);
        for piece in 0..2 {
            collector.start_piece();
            collector.take(names[0], &f32s(&rows, [1, 1, 1, 1]), None);
            assert!(!collector.is_satisfied(), "its attention is awaited");
            collector.take_attention(0, &dense(&rows, [1, 1, 1, 1], 4));
            assert!(!collector.is_satisfied(), "one more product");
            collector.take(names[1], &f32s(&rows, [1, 1, 1, 1]), None);
            assert_eq!(collector.is_satisfied(), piece > 0);
        }
    }

    #[test]
    fn moments_of_keys_and_values_need_attention_and_heads_have_their_own() {
        let names = ["blk.0.attn_v.weight", "blk.1.attn_v.weight", "blk.0.attn_q.weight", "blk.0.attn_qkv.weight"];
        let tensors = names.map(|name| tensor(name, 1, 1)).to_vec();
        let mut collector = Collector::new(tensors).by_attention(false).with_moments(MomentSites::new(2));
        for name in names {
            collector.take(name, &f32s(&bytes(&[2.0, 1.0]), [1, 2, 1, 1]), None);
        }
        // Two heads, each a group: the second one looks at the first token alone.
        let attention = bytes(&[1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 1.0, 0.0]);
        collector.take_attention(0, &dense(&attention, [2, 2, 2, 1], 4));
        collector.end_text();
        let dir = tempfile::tempdir().unwrap();
        let written = collector.moments().unwrap().write(dir.path(), &collector.entries().unwrap()).unwrap();
        let n_parts = |name: &str| written.iter().find(|site| site.tensors == [name]).unwrap().n_parts;
        // The layer whose attention nobody showed has mean squares alone, and so have keys and values in one tensor with queries.
        assert_eq!(names.map(n_parts), [2, 0, 1, 0]);
        let file = std::fs::read(dir.path().join("blk.0.attn_v.weight.moments")).unwrap();
        let parts: Vec<f32> = file[4..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let expected = [(0.9 * 1.5 + 0.1) * 4.0 + (0.9 * 0.5 + 0.1), (0.9 * 2.0 + 0.1) * 4.0 + 0.1].map(|sum: f32| sum / 2.0);
        assert!(parts.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5), "{parts:?} {expected:?}");
    }

    #[test]
    fn change_is_the_part_of_the_importance_that_moved() {
        let mut collector = Collector::new(vec![tensor("a", 2, 1), tensor("x", 1, 2)]);
        let add = |collector: &mut Collector, numbers: &[f32]| collector.take("a", &f32s(&bytes(numbers), [2, 1, 1, 1]), None);
        add(&mut collector, &[1.0, 1.0]);
        assert_eq!(collector.change(), None);
        add(&mut collector, &[1.0, 1.0]);
        assert_eq!(collector.change(), Some(0.0), "more of the same");
        // Halves become 3/8 and 5/8.
        add(&mut collector, &[1.0, 3.0_f32.sqrt()]);
        let change = collector.change().unwrap();
        assert!((change - 0.125).abs() < 1e-6, "{change}");
        // An expert that nobody had reached is all new.
        let ids = 1_i32.to_le_bytes();
        collector.take("x", &f32s(&bytes(&[1.0]), [1, 1, 1, 1]), Some(&dense(&ids, [1, 1, 1, 1], 4)));
        let check = |moved: f64, expected: f64| assert!((moved - expected).abs() < 1e-9, "{moved} instead of {expected}");
        check(moved(&[0, 1], &[], &collector.running[1].parts()), 1.0);
        check(moved(&[3, 1], &[1.0, 0.0], &[1.0, 1.0]), 0.25);
    }

    #[test]
    fn the_last_comparison_is_over_the_last_doubling() {
        assert_eq!(points(8), [1, 2, 4, 8]);
        assert_eq!(points(50), [1, 3, 6, 12, 25, 50]);
        assert_eq!((points(1), points(0)), (vec![1], vec![]));
    }
}
