// Writes a message and reads it back with kafkajs, knowing the environment alone.
import kafkajs from "kafkajs";

const e = process.env;
const kafka = new kafkajs.Kafka({
  brokers: e.KAFKA_BOOTSTRAP_SERVERS.split(","),
  ssl: e.KAFKA_SECURITY_PROTOCOL === "SASL_SSL",
  sasl: { mechanism: e.KAFKA_SASL_MECHANISM.toLowerCase(), username: e.KAFKA_SASL_USERNAME, password: e.KAFKA_SASL_PASSWORD },
  logLevel: kafkajs.logLevel.NOTHING,
  retry: { retries: 1 },
});
const topic = process.argv[2] ?? e.KAFKA_TOPICS;
const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
await producer.connect();
await producer.send({ topic, messages: [{ value: "from kafkajs" }] });
await producer.disconnect();
const consumer = kafka.consumer({ groupId: e.KAFKA_GROUP_ID + "-node" });
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true });
const found = new Promise((done) =>
  consumer.run({ eachMessage: async ({ message }) => message.value.toString() === "from kafkajs" && done() }),
);
await found;
console.log("read");
await consumer.disconnect();
process.exit(0);
