//! Second moments of the inputs of a model's tensors, while it runs; tensors that are multiplied by the same inputs share them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::moments::{MAX_COLUMNS, MomentSum};
use crate::format::{Checksum, ColumnSums, MomentsSite};
use crate::path_text;

/// The moments of all inputs so far.
#[derive(Debug)]
pub struct MomentSites {
    n_groups: usize,
    sites: Vec<Site>,
    /// Tensor → index of its site.
    site_of: HashMap<String, usize>,
    /// The site of the last inputs, and they themselves: gate and up follow each other.
    last: Option<(usize, Vec<f32>)>,
}

#[derive(Debug)]
struct Site {
    /// The first is the one whose inputs count.
    tensors: Vec<String>,
    parts: Vec<MomentSum>,
}

impl MomentSites {
    /// No moments yet; those of keys and values will be kept for `n_groups` groups of heads, at least 1.
    #[must_use]
    pub fn new(n_groups: usize) -> Self {
        Self { n_groups: n_groups.max(1), sites: Vec::new(), site_of: HashMap::new(), last: None }
    }

    /// Groups of heads.
    #[must_use]
    pub fn n_groups(&self) -> usize {
        self.n_groups
    }

    /// Adds inputs of a tensor, one after the other in `rows`; those of more than [`MAX_COLUMNS`] columns are left out.
    pub fn add(&mut self, name: &str, n_columns: usize, rows: Vec<f32>) {
        if n_columns > MAX_COLUMNS {
            return;
        }
        if !self.site_of.contains_key(name) {
            match &self.last {
                Some((site_idx, last)) if *last == rows => {
                    let site_idx = *site_idx;
                    self.site_of.insert(name.into(), site_idx);
                    self.sites.get_mut(site_idx).into_iter().for_each(|site| site.tensors.push(name.into()));
                }
                _ => self.start(name, n_columns, 1),
            }
        }
        let Some((site_idx, site)) = self.led_by(name) else { return };
        if let [sum] = site.parts.as_mut_slice() {
            sum.add(&rows);
        }
        self.last = Some((site_idx, rows));
    }

    /// Adds inputs of a tensor of keys or values, with the weights of each for each group of heads; else as [`MomentSites::add`].
    pub fn add_parts(&mut self, name: &str, rows: &[f32], weights: &[&[f64]]) {
        let n_rows = weights.first().map_or(0, |weights| weights.len());
        let n_columns = rows.len().checked_div(n_rows).unwrap_or(0);
        if n_columns > MAX_COLUMNS {
            return;
        }
        if !self.site_of.contains_key(name) {
            self.start(name, n_columns, weights.len());
        }
        let Some((_, site)) = self.led_by(name) else { return };
        for (sum, weights) in site.parts.iter_mut().zip(weights) {
            sum.add_weighted(rows, weights);
        }
    }

    fn start(&mut self, name: &str, n_columns: usize, n_parts: usize) {
        self.site_of.insert(name.into(), self.sites.len());
        let parts = (0..n_parts).map(|_| MomentSum::new(n_columns)).collect();
        self.sites.push(Site { tensors: vec![name.into()], parts });
    }

    /// The site of a tensor, if it is the first one there.
    fn led_by(&mut self, name: &str) -> Option<(usize, &mut Site)> {
        let site_idx = *self.site_of.get(name)?;
        let site = self.sites.get_mut(site_idx)?;
        (site.tensors.first().is_some_and(|first| first == name)).then_some((site_idx, site))
    }

    /// Writes a file for each site into `folder`, with the mean squares of `entries`; tensors that have only those get a file too.
    ///
    /// # Errors
    /// The name of a tensor whose moments are not finite, or why a file cannot be written.
    pub fn write(&self, folder: &Path, entries: &BTreeMap<String, ColumnSums>) -> Result<Vec<MomentsSite>, String> {
        let others = entries.keys().filter(|name| !self.site_of.contains_key(*name));
        let others = others.map(|name| write_site(folder, vec![name.clone()], &[], entries));
        let sites = self.sites.iter().map(|site| write_site(folder, site.tensors.clone(), &site.parts, entries));
        sites.chain(others).filter_map(Result::transpose).collect()
    }
}

/// Writes the file of a site; `None` for tensors without mean squares.
fn write_site(
    folder: &Path,
    tensors: Vec<String>,
    parts: &[MomentSum],
    entries: &BTreeMap<String, ColumnSums>,
) -> Result<Option<MomentsSite>, String> {
    let Some((name, entry)) = tensors.first().and_then(|name| entries.get_key_value(name)) else { return Ok(None) };
    if parts.iter().any(MomentSum::is_damaged) {
        return Err(format!("{name}: its activations are too large to be summed"));
    }
    let (n_columns, n_experts) = (entry.n_columns(), entry.counts.len());
    let mut bytes = Vec::new();
    bytes.extend(entry.means().into_iter().flat_map(f32::to_le_bytes));
    for part in parts {
        part.write_triangle(&mut bytes);
    }
    let file = format!("{name}.moments");
    let path = folder.join(&file);
    std::fs::write(&path, &bytes)
        .map_err(|error| format!("moments cannot be written to {}: {error}", path_text::shown(&path)))?;
    Ok(Some(MomentsSite { file, blake3: Checksum::of(&bytes), n_columns, n_parts: parts.len(), n_experts, tensors }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sums: &[f32], counts: &[f32]) -> ColumnSums {
        ColumnSums { sums: sums.into(), counts: counts.into() }
    }

    fn floats(path: &Path) -> Vec<f32> {
        std::fs::read(path).unwrap().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn tensors_with_the_same_inputs_share_a_file_and_others_have_their_own() {
        let mut sites = MomentSites::new(2);
        for chunk in [[1.0, 2.0], [3.0, 4.0]] {
            sites.add("up", 2, chunk.to_vec());
            sites.add("gate", 2, chunk.to_vec());
            sites.add("down", 2, vec![chunk[1], 0.0]);
        }
        sites.add_parts("v", &[1.0, 3.0], &[&[1.0, 0.0], &[1.0, 1.0]]);
        let entries = BTreeMap::from([
            ("up".to_string(), entry(&[10.0, 20.0], &[2.0])),
            ("gate".to_string(), entry(&[10.0, 20.0], &[2.0])),
            ("down".to_string(), entry(&[20.0, 0.0], &[2.0])),
            ("v".to_string(), entry(&[10.0], &[2.0])),
            ("k".to_string(), entry(&[2.0, 8.0], &[2.0, 4.0])),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let written = sites.write(dir.path(), &entries).unwrap();
        let facts = |site: &MomentsSite| (site.tensors.join(" "), site.n_columns, site.n_parts, site.n_experts);
        let expected = [("up gate", 2, 1, 1), ("down", 2, 1, 1), ("v", 1, 2, 1), ("k", 1, 0, 2)];
        let expected =
            expected.map(|(tensors, n_columns, n_parts, n_experts)| (tensors.to_string(), n_columns, n_parts, n_experts));
        assert_eq!(written.iter().map(facts).collect::<Vec<_>>(), expected);
        let found: Vec<Vec<f32>> = written.iter().map(|site| floats(&dir.path().join(&site.file))).collect();
        assert_eq!(found[0], [5.0, 10.0, 5.0, 7.0, 10.0]);
        assert_eq!(found[1], [10.0, 0.0, 10.0, 0.0, 0.0]);
        // The first group of heads saw only the first token.
        assert_eq!(found[2], [5.0, 1.0, 5.0]);
        assert_eq!(found[3], [1.0, 2.0]);
        for site in &written {
            assert_eq!(site.size_bytes(), std::fs::metadata(dir.path().join(&site.file)).unwrap().len(), "{}", site.file);
        }
    }

    #[test]
    fn moments_that_are_not_finite_name_the_tensor() {
        let mut sites = MomentSites::new(1);
        sites.add("up", 1, vec![f32::MAX]);
        let entries = BTreeMap::from([("up".to_string(), entry(&[1.0], &[1.0]))]);
        let dir = tempfile::tempdir().unwrap();
        let problem = sites.write(dir.path(), &entries).unwrap_err();
        assert!(problem.starts_with("up: "), "{problem}");
        assert!(sites.write(&dir.path().join("none"), &entries).is_err());
    }
}
