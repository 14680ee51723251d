//! The few shapes of statements over many rows.
//!
//! A statement is prepared once per connection and shape. With a shape for every number of rows, the driver would have
//! to close old statements. With MySQL each close costs the next statement 40 ms, because the driver does not set
//! `TCP_NODELAY` (github.com/launchbadge/sqlx/issues/4335).

/// Rows per statement, largest first. The largest with the widest table is far below the maximum of bound values
/// (65,535 with MySQL and PostgreSQL, 32,766 with SQLite).
const SIZES: [usize; 4] = [512, 64, 8, 1];

/// Splits rows to insert into pieces, each as long as a shape.
pub(super) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let shape = SIZES.into_iter().find(|&shape| shape <= rows.len())?;
        let (piece, rest) = rows.split_at(shape);
        rows = rest;
        Some(piece)
    })
}

/// Splits a list to search for into pieces that fit the largest shape.
pub(super) fn chunks<T>(list: &[T]) -> impl Iterator<Item = &[T]> {
    list.chunks(SIZES[0])
}

/// The length of the smallest shape that holds `len`.
pub(super) fn padded_len(len: usize) -> usize {
    SIZES.into_iter().rev().find(|&shape| shape >= len).unwrap_or(SIZES[0])
}

/// Extends the list to the length of `shape` with its last value, or with `none` if it is empty. For `IN`, where
/// repeated values change nothing.
pub(super) fn pad_to<T: Copy>(list: &mut Vec<T>, shape: usize, none: T) {
    let last = list.last().copied().unwrap_or(none);
    list.resize(shape, last);
}

/// `?,?,?`
pub(super) fn placeholders(count: usize) -> String {
    repeated("?", count)
}

/// `(?,?),(?,?)`
pub(super) fn tuples(rows: usize, columns: usize) -> String {
    repeated(&format!("({})", placeholders(columns)), rows)
}

fn repeated(text: &str, count: usize) -> String {
    let mut all = text.to_owned();
    for _ in 1..count {
        all.push(',');
        all.push_str(text);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_shape_lengths_and_contain_all_rows() {
        let rows: Vec<usize> = (0..1100).collect();
        for len in 0..rows.len() {
            let pieces: Vec<&[usize]> = pieces(&rows[..len]).collect();
            assert!(pieces.iter().all(|piece| SIZES.contains(&piece.len())), "{len}");
            assert_eq!(pieces.concat(), rows[..len]);
        }
    }

    #[test]
    fn a_search_list_is_padded_with_its_own_values() {
        let mut list = vec![1, 2, 3];
        let shape = padded_len(list.len());
        pad_to(&mut list, shape, 0);
        assert_eq!(list, [1, 2, 3, 3, 3, 3, 3, 3]);
        let mut empty = Vec::new();
        pad_to(&mut empty, padded_len(0), 0);
        assert_eq!(empty, [0]);
        assert_eq!([padded_len(1), padded_len(9), padded_len(65), padded_len(512)], [1, 64, 512, 512]);
    }

    #[test]
    fn placeholders_are_separated_by_commas() {
        assert_eq!(placeholders(3), "?,?,?");
        assert_eq!(tuples(2, 2), "(?,?),(?,?)");
    }
}
