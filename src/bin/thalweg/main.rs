mod bench;
use clap::Parser;
#[derive(Parser)]
struct A {
    #[command(subcommand)]
    c: C,
}
#[derive(clap::Subcommand)]
enum C {
    Bench(bench::BenchArgs),
}
fn main() -> anyhow::Result<()> {
    match A::parse().c {
        C::Bench(a) => bench::run(&a),
    }
}
