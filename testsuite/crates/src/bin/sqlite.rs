//! SQLite, whose C code the crate's build script compiles.

use rusqlite::Connection;

fn main() -> rusqlite::Result<()> {
    let mut args = std::env::args().skip(1);
    let (path, journal) = (args.next().unwrap(), args.next().unwrap());
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", &journal)?;
    database.pragma_query(None, "journal_mode", |row| {
        assert_eq!(row.get::<_, String>(0)?, journal);
        Ok(())
    })?;
    database.execute_batch("create table words (number integer primary key, word text unique)")?;
    let insert = database.transaction()?;
    for number in 0..2000u64 {
        let word = format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        insert.execute("insert into words(word) values (?1)", [word])?;
    }
    insert.commit()?;
    let again = database.execute("insert into words(word) values ('0')", []);
    println!("{}", again.unwrap_err());
    let mut query = database.prepare("select number, word from words order by word limit 3")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        println!("{} {}", row.get::<_, u64>(0)?, row.get::<_, String>(1)?);
    }
    let sum: f64 =
        database.query_row("select avg(number * length(word)) from words", [], |row| {
            row.get(0)
        })?;
    println!("{sum} {}", rusqlite::version());
    Ok(())
}
