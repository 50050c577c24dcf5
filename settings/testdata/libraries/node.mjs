// Signs in with the settings in the environment, as an application would, and
// prints tls or clear. Status 3: the library is not installed.
const [, , library, how] = process.argv
const env = process.env
const load = name => import(name).then(m => m.default ?? m, e => {
	if (e.code !== "ERR_MODULE_NOT_FOUND") throw e
	console.error(e.message)
	process.exit(3)
})

async function pg() {
	const { Client } = await load("pg")
	const options = {
		azure: () => ({
			host: env.AZURE_POSTGRESQL_HOST, port: env.AZURE_POSTGRESQL_PORT, database: env.AZURE_POSTGRESQL_DATABASE,
			user: env.AZURE_POSTGRESQL_USER, password: env.AZURE_POSTGRESQL_PASSWORD, ssl: env.AZURE_POSTGRESQL_SSL === "true",
		}),
		url: () => ({ connectionString: env.DATABASE_URL }),
		environment: () => undefined,
	}[how]()
	const client = new Client(options)
	await client.connect()
	const { rows } = await client.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
	await client.end()
	return rows[0].ssl
}

async function mysql2() {
	const mysql = await load("mysql2/promise")
	const connection = await mysql.createConnection(how === "url" ? env.DATABASE_URL : {
		host: env.AZURE_MYSQL_HOST, port: env.AZURE_MYSQL_PORT, database: env.AZURE_MYSQL_DATABASE,
		user: env.AZURE_MYSQL_USER, password: env.AZURE_MYSQL_PASSWORD, ssl: env.AZURE_MYSQL_SSL === "true" ? {} : undefined,
	})
	const [rows] = await connection.query("show status like 'Ssl_cipher'")
	await connection.end()
	return rows[0].Value !== ""
}

async function redis() {
	const { createClient } = await load("redis")
	const client = createClient({ url: env.AZURE_REDIS_CONNECTIONSTRING, socket: { reconnectStrategy: false } })
	client.on("error", () => {})
	await client.connect()
	await client.ping()
	await client.close()
	return env.AZURE_REDIS_CONNECTIONSTRING.startsWith("rediss:")
}

async function mongodb() {
	const { MongoClient } = await load("mongodb")
	const client = new MongoClient(env.MONGODB_URI, { serverSelectionTimeoutMS: 2000 })
	try {
		await client.connect()
		await client.db().collection("things").findOne({})
		return env.MONGODB_URI.includes("tls=true")
	} finally {
		await client.close()
	}
}

async function mqtt() {
	// Debian's; what it needs is beside it.
	const { createRequire } = await import("node:module")
	let connect
	try {
		({ connect } = createRequire("/usr/share/nodejs/")("mqtt"))
	} catch (e) {
		console.error(e.message)
		process.exit(3)
	}
	const client = connect(env.MQTT_URL, { reconnectPeriod: 0 })
	await new Promise((resolve, reject) => client.on("connect", resolve).on("error", reject).on("close", () => reject(new Error("closed"))))
	const secure = client.stream.encrypted === true
	client.end(true)
	return secure
}

try {
	console.log(await { pg, mysql2, redis, mongodb, mqtt }[library]() ? "tls" : "clear")
} catch (e) {
	console.error(String(e.message ?? e).split("\n")[0], e.code ?? "")
	process.exit(1)
}
