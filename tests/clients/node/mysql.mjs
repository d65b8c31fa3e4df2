// mysql2: connect, inspect, transact, prepare, insert in bulk, stream, change user, cancel. Prints JSON.
//     node mysql.mjs PORT
import mysql from 'mysql2/promise';
import raw from 'mysql2';

const [port] = process.argv.slice(2);
const options = { host: '127.0.0.1', port: Number(port), user: 'demo', password: 'demo', database: 'plain' };
const found = {};
const errno = (work) => work.then(() => 'no error', (error) => [error.errno, error.sqlState]);

const db = await mysql.createConnection({ ...options, multipleStatements: true, supportBigNumbers: true, bigNumberStrings: true });
await db.query('DROP TABLE IF EXISTS crates');
await db.query(`CREATE TABLE crates (id INT AUTO_INCREMENT PRIMARY KEY, label VARCHAR(40) UNIQUE, weight DECIMAL(9,3),
  packed DATETIME(3), tags JSON, photo BLOB)`);
found.columns = (await db.query('SHOW COLUMNS FROM crates'))[0].map((one) => [one.Field, one.Type, one.Key, one.Extra]);

const [inserted] = await db.execute('INSERT INTO crates (label, weight, packed, photo) VALUES (?, ?, ?, ?)',
  ['eins', '1.500', new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 678)), Buffer.from([0, 1, 255])]);
found.inserted = [inserted.insertId, inserted.affectedRows];
const [rows, fields] = await db.execute('SELECT * FROM crates WHERE id = ?', [inserted.insertId]);
found.row = [rows[0], fields.map((one) => [one.name, one.columnType, one.columnLength])];
found.duplicate = await errno(db.execute('INSERT INTO crates (label) VALUES (?)', ['eins']));

await db.beginTransaction();
await db.execute('UPDATE crates SET weight = weight + ? WHERE id = ?', [1, 1]);
await db.rollback();
await db.beginTransaction();
await db.query('INSERT INTO crates (label) VALUES ?', [Array.from({ length: 2000 }, (_, n) => [`crate ${n}`])]);
await db.commit();
found.counted = (await db.query('SELECT COUNT(*) AS n, MAX(weight) AS most FROM crates'))[0];
found.several = (await db.query("SELECT 1 AS one; UPDATE crates SET tags = '[1, 2]' WHERE id = 1; SELECT tags FROM crates WHERE id = 1"))[0]
  .map((one) => (Array.isArray(one) ? one : [one.affectedRows, one.changedRows, one.info]));
found.syntax = await errno(db.query('SELEC 1'));
found.null = (await db.execute('SELECT ? IS NULL AS nothing, ? AS text', [null, 'ä€😀']))[0];
await db.changeUser({ user: 'demo', password: 'demo', database: 'plain' });
found.database = (await db.query('SELECT DATABASE() AS name'))[0];

const plain = raw.createConnection(options);
found.streamed = await new Promise((resolve, reject) => {
  let length = 0;
  plain.query('SELECT label FROM crates').stream({ highWaterMark: 5 })
    .on('data', (row) => { length += row.label.length; }).on('end', () => resolve(length)).on('error', reject);
});
const [[{ id }]] = await plain.promise().query('SELECT CONNECTION_ID() AS id');
const waits = plain.promise().query('SELECT SLEEP(30)').then(() => 'no error', (error) => error.fatal);
found.killed = [(await db.query(`KILL ${id}`))[0].affectedRows, await waits];
plain.destroy();

const pool = mysql.createPool({ ...options, connectionLimit: 3 });
const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => pool.execute('SELECT ? + 1 AS n', [n])));
found.pool = answers.map(([[row]]) => row.n).join();
await pool.end();
await db.query('DROP TABLE crates');
await db.end();
console.log(JSON.stringify(found));
