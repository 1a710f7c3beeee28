# Read the events of SMS Bridge, each once. Needs bunny, which reconnects by itself.
require 'bunny'
require 'json'
require 'set'

EXCHANGE = 'sms.events'
QUEUE = 'billing.sms.ruby' # one queue for each service; its processes share it
DEAD = "#{QUEUE}.dead"
KEYS = ['sms.outbound.*', 'sms.inbound.received'].freeze

seen = Set.new # better: store the ids in your database, in the transaction of your own changes
MOST = 100_000

def handle(event)
  puts "#{event['type']} #{event['subject'].inspect}" # quoted: safe on any terminal
  $stdout.flush
end

connection = Bunny.new(ENV.fetch('AMQP_URL', 'amqp://guest:guest@localhost:5672/%2f')).start
channel = connection.create_channel
channel.prefetch(20)
exchange = channel.topic(EXCHANGE, durable: true)
dead = channel.fanout(DEAD, durable: true)
channel.queue(DEAD, durable: true, arguments: { 'x-queue-type' => 'quorum' }).bind(dead)
queue = channel.queue(QUEUE, durable: true, arguments: {
                        'x-queue-type' => 'quorum', 'x-delivery-limit' => 5, 'x-dead-letter-exchange' => DEAD
                      })
KEYS.each { |key| queue.bind(exchange, routing_key: key) }

queue.subscribe(manual_ack: true) do |delivery, _properties, body|
  event = JSON.parse(body)
  unless seen.include?(event['id'])
    handle(event)
    seen.add(event['id'])
    seen.delete(seen.first) if seen.size > MOST
  end
  channel.ack(delivery.delivery_tag)
rescue StandardError => e
  warn e.class
  # Retried once after a second, then dead-lettered.
  sleep 1
  channel.reject(delivery.delivery_tag, !delivery.redelivered?)
end

stop = Queue.new
trap('TERM') { stop << true }
stop.pop
connection.close
