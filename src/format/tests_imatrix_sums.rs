//! Importance matrices written, read again and added up.

use std::path::{Path, PathBuf};

use super::{ColumnSums, ImatrixSums, UnusedExperts, merged_imatrix, read_imatrix, read_imatrix_sums};
use crate::error::{Error, Result};
use crate::model::Text;

fn sums(n_chunks: u32, entries: &[(&str, &[f32], &[f32])]) -> ImatrixSums {
    let entry = |sums: &[f32], counts: &[f32]| ColumnSums { sums: sums.into(), counts: counts.into() };
    ImatrixSums {
        datasets: vec!["letters.txt".into()],
        n_chunks,
        chunk_tokens: Some(512),
        is_dat: false,
        entries: entries.iter().map(|(name, sums, counts)| ((*name).to_string(), entry(sums, counts))).collect(),
    }
}

fn write(folder: &Path, name: &str, sums: &ImatrixSums) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, sums.to_gguf(&path).unwrap()).unwrap();
    path
}

/// A `.dat` file with the number of its chunks.
fn write_dat(folder: &Path, n_chunks: i32, entries: &[(&str, i32, &[f32])]) -> PathBuf {
    let number = |n: usize| i32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = number(entries.len()).to_vec();
    for (name, n_calls, values) in entries {
        bytes.extend(number(name.len()));
        bytes.extend(name.as_bytes());
        bytes.extend(n_calls.to_le_bytes());
        bytes.extend(number(values.len()));
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes.extend(n_chunks.to_le_bytes());
    bytes.extend(number(17));
    bytes.extend(br"C:\texts\wiki.raw");
    let path = folder.join("old.dat");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let written = sums(
        3,
        &[
            ("blk.0.attn_q.weight", &[1.5, 0.0, 2.25], &[1536.0]),
            ("blk.0.ffn_up_exps.weight", &[1.0, 2.0, 0.0, 0.0, 3.0, 4.0], &[700.0, 0.0, 836.0]),
            ("token_embd.weight", &[4.0], &[1536.0]),
        ],
    );
    let path = write(folder.path(), "a.gguf", &written);
    assert_eq!(read_imatrix_sums(&path), Ok(written.clone()));
    // Again the same bytes.
    assert!(read_imatrix_sums(&path).unwrap().to_gguf(&path).unwrap() == std::fs::read(&path).unwrap());
    let imatrix = read_imatrix(&path).unwrap();
    assert_eq!(imatrix.n_chunks, 3);
    assert_eq!(imatrix.entries["blk.0.ffn_up_exps.weight"][2..4], [1.0, 1.0], "an expert that was not reached");
    let experts = UnusedExperts { tensor: "blk.0.ffn_up_exps.weight".into(), n_unused: 1, n_experts: 3 };
    assert_eq!(written.unused(), (vec![], vec![experts]));
}

#[test]
fn a_file_of_llama_imatrix_is_written_with_the_same_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/imatrix/qwen3-moe.gguf");
    let sums = read_imatrix_sums(&path).unwrap();
    assert_eq!((sums.entries.len(), sums.n_chunks, sums.chunk_tokens), (17, 3, Some(32)));
    let counts = &sums.entries["blk.1.ffn_down_exps.weight"].counts;
    assert!(counts.len() == 4 && (counts.iter().sum::<f32>() - 192.0).abs() < 0.5, "{counts:?}");
    assert!(sums.to_gguf(&path).unwrap() == std::fs::read(&path).unwrap());
}

#[test]
fn tensors_reached_by_zeros_alone_are_uniform() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.gguf", &sums(1, &[("a", &[0.0, 0.0], &[512.0]), ("b", &[0.0, 512.0], &[512.0])]));
    let imatrix = read_imatrix(&path).unwrap();
    assert_eq!((&imatrix.entries["a"][..], &imatrix.entries["b"][..]), (&[1.0, 1.0][..], &[0.0, 1.0][..]));
    let expected = "1 of 2 tensors in the importance matrix was not used by its text: all its columns count the same";
    assert_eq!(imatrix.warnings, [expected]);
}

#[test]
fn what_no_reader_takes_is_not_written() {
    let check = |sums: &ImatrixSums, expected: &str| {
        let error = sums.to_gguf(Path::new("x.gguf")).unwrap_err();
        assert!(matches!(&error, Error::BadImatrix { what, .. } if what.contains(expected)), "{error}");
    };
    check(&sums(1, &[]), "no entries");
    check(&sums(1, &[("a".repeat(56).as_str(), &[1.0], &[1.0])]), "too long");
    assert!(sums(1, &[("a".repeat(55).as_str(), &[1.0], &[1.0])]).to_gguf(Path::new("x.gguf")).is_ok());
}

#[test]
fn merging_adds_sums_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let one = sums(2, &[("a", &[1.0, 2.0], &[1024.0]), ("x", &[1.0, 2.0, 3.0, 4.0], &[24.0, 0.0])]);
    let mut other =
        sums(3, &[("a", &[0.5, 8.0], &[1536.0]), ("b", &[1.0], &[1536.0]), ("x", &[1.0, 1.0, 1.0, 1.0], &[1.0, 5.0])]);
    other.datasets = vec!["/home/ada/texts/code.txt".into()];
    let merged = merged_imatrix(&[write(folder.path(), "one.gguf", &one), write(folder.path(), "other.gguf", &other)]).unwrap();
    let entry = |name: &str| (merged.entries[name].sums.clone(), merged.entries[name].counts.clone());
    assert_eq!(entry("a"), (vec![1.5, 10.0], vec![2560.0]));
    assert_eq!(entry("b"), (vec![1.0], vec![1536.0]), "a tensor of only one file");
    assert_eq!(entry("x"), (vec![2.0, 3.0, 4.0, 5.0], vec![25.0, 5.0]));
    assert_eq!((merged.n_chunks, merged.chunk_tokens), (5, Some(512)));
    assert_eq!(merged.datasets, [Text::from("letters.txt"), Text::from("code.txt")], "no folders");
}

#[test]
fn an_old_file_counts_by_the_tokens_of_its_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let new =
        ImatrixSums { chunk_tokens: Some(256), ..sums(2, &[("a", &[512.0, 1024.0], &[512.0]), ("x", &[1.0, 2.0], &[4.0, 8.0])]) };
    let old = write_dat(folder.path(), 3, &[("a", 3, &[6.0, 3.0]), ("x", 3, &[3.0, 3.0])]);
    let merged = merged_imatrix(&[write(folder.path(), "new.gguf", &new), old.clone()]).unwrap();
    assert_eq!(merged.entries["a"], ColumnSums { sums: vec![2048.0, 1792.0], counts: vec![1280.0] });
    assert_eq!(
        merged.entries["x"],
        ColumnSums { sums: vec![769.0, 770.0], counts: vec![772.0, 776.0] },
        "one count for all experts"
    );
    assert_eq!((merged.n_chunks, merged.datasets.last()), (5, Some(&Text::from("wiki.raw"))));
    let alone = merged_imatrix(&[old]).unwrap();
    assert_eq!((alone.chunk_tokens, alone.n_chunks, alone.is_dat), (Some(512), 3, false));
    assert_eq!(alone.entries["a"], ColumnSums { sums: vec![3072.0, 1536.0], counts: vec![1536.0] });
}

#[test]
fn files_of_different_models_are_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let one = write(folder.path(), "one.gguf", &sums(1, &[("a", &[1.0, 2.0, 3.0, 4.0], &[1.0]), ("x", &[1.0; 4], &[1.0; 2])]));
    let merge = |other: &ImatrixSums| -> Result<ImatrixSums> {
        merged_imatrix(&[one.clone(), write(folder.path(), "other.gguf", other)])
    };
    let check = |other: &ImatrixSums, expected: &str| {
        let message = merge(other).unwrap_err().to_string();
        assert!(message.contains(expected) && message.ends_with("other.gguf"), "{message}");
    };
    check(&sums(1, &[("a", &[1.0, 2.0], &[1.0])]), "a has 2 columns here and 4 columns before");
    check(&sums(1, &[("a", &[1.0; 4], &[1.0; 2])]), "a has 2 columns of each of 2 experts here and 4 columns before");
    check(&sums(1, &[("x", &[1.0; 8], &[1.0; 4])]), "x has 2 columns of each of 4 experts here and 2 columns of each of 2");
    check(&sums(1, &[("z", &[1.0], &[1.0])]), "no tensor in common");
    assert!(matches!(merged_imatrix(&[]), Err(Error::BadRequest { .. })));
}
