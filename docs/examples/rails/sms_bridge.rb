# Publishes SMS commands from a Rails application: lib/sms_bridge.rb. Needs bunny.
require 'bunny'
require 'json'

class SmsBridge
  class NotSent < StandardError; end

  def initialize(url)
    @url = url
    @lock = Mutex.new # a channel belongs to one thread at a time
  end

  # Returns once the broker has stored the command. Calling it again with the same id sends no second SMS.
  def send_sms(id:, to:, message:)
    body = JSON.generate({ id: id, destination_address: to, message: message })
    @lock.synchronize do
      connect unless @pid == Process.pid && @connection.open? # Puma forks: each process has its own connection
      @unrouted = false
      @exchange.publish(body, routing_key: 'send', persistent: true, mandatory: true, content_type: 'application/json')
      raise NotSent, 'the broker refused the command' unless @channel.wait_for_confirms
      raise NotSent, 'no queue is bound: start the bridge' if @unrouted
    rescue StandardError
      @pid = nil # connect again next time
      raise
    end
  end

  private

  def connect
    @connection = Bunny.new(@url, recover_from_connection_close: false, automatically_recover: false).start
    @channel = @connection.create_channel
    @channel.confirm_select
    @exchange = @channel.exchange('sms.commands', passive: true)
    @exchange.on_return { @unrouted = true }
    @pid = Process.pid
  end
end
