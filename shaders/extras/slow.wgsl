// Lookahead: slow weights follow the fast ones now and then, which start again from there. Zhang et al. 2019, arXiv:1907.08610.
fn sync(i: u32, x: T, y: T, row: HyperRow) -> T {
    if row.sync == 0.0 && row.start == 0.0 {
        return y;
    }
    let old = select(slow[i], x, row.start != 0.0);
    let after = select(old, toward(old, y, row.sync), row.sync != 0.0);
    slow[i] = after;
    return select(after, y, row.sync == 0.0);
}
