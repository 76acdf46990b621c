//! The part that a process copies, from the environment variables of the scheduler that started it.

use crate::error::{Failure, Operation};
use std::ffi::OsString;

/// Each variable and the number that it gives to the first part.
const VARIABLES: [(&str, u64); 5] = [
    ("SLURM_ARRAY_TASK_ID", 0),  // sbatch(1), --array
    ("JOB_COMPLETION_INDEX", 0), // Kubernetes, Indexed Job
    ("PARALLEL_SEQ", 1),         // parallel(1)
    ("OMPI_COMM_WORLD_RANK", 0), // Open MPI's mpirun
    ("PMI_RANK", 0),             // MPICH, Intel MPI, Slurm's PMI
];

/// Returns the part that the environment names, read through `get`. Fails if no variable is set, one is no number, or
/// two disagree. Two may disagree when one scheduler runs inside another; then only the user knows which one counts.
pub(super) fn part(get: impl Fn(&str) -> Option<OsString>) -> Result<u64, Failure> {
    let mut found: Option<(&str, u64)> = None;
    for (name, first) in VARIABLES {
        let Some(value) = get(name) else { continue };
        let number = value.to_str().and_then(|text| text.parse::<u64>().ok()?.checked_sub(first));
        let Some(number) = number else {
            return Err(Failure::new(Operation::PartVariable, name).and(value));
        };
        match found {
            Some((other, part)) if part != number => {
                return Err(Failure::new(Operation::PartVariables, other).and(name));
            }
            _ => found = Some((name, number)),
        }
    }
    let words = "no part: neither Slurm, Kubernetes, GNU parallel nor MPI names one; give --part=K";
    found.map(|(_, part)| part).ok_or(Failure::plain(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part_of(variables: &[(&str, &str)]) -> Result<u64, String> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        part(get).map_err(|failure| String::from_utf8_lossy(&failure.text()).into_owned())
    }

    #[test]
    fn each_engine_counts_in_its_own_way() {
        assert_eq!(part_of(&[("SLURM_ARRAY_TASK_ID", "3")]), Ok(3));
        assert_eq!(part_of(&[("JOB_COMPLETION_INDEX", "0")]), Ok(0));
        assert_eq!(part_of(&[("PARALLEL_SEQ", "1")]), Ok(0));
        assert_eq!(part_of(&[("OMPI_COMM_WORLD_RANK", "6")]), Ok(6));
        assert_eq!(part_of(&[("PMI_RANK", "6")]), Ok(6));
    }

    #[test]
    fn two_that_agree_are_one() {
        assert_eq!(part_of(&[("PARALLEL_SEQ", "3"), ("OMPI_COMM_WORLD_RANK", "2")]), Ok(2));
        let answer = part_of(&[("SLURM_ARRAY_TASK_ID", "3"), ("PARALLEL_SEQ", "3")]);
        let words = "'SLURM_ARRAY_TASK_ID' and 'PARALLEL_SEQ' name different parts; choose one with --part=K";
        assert_eq!(answer, Err(words.to_owned()));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(part_of(&[("PARALLEL_SEQ", "0")]), Err("'PARALLEL_SEQ' is not a part: '0'".to_owned()));
        assert!(part_of(&[("PMI_RANK", "-1")]).is_err());
        assert!(part_of(&[]).unwrap_err().starts_with("no part: neither Slurm"));
    }
}
