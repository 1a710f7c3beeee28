# app/jobs/send_sms_job.rb
class SendSmsJob < ApplicationJob
  retry_on SmsBridge::NotSent, Bunny::Exception, Timeout::Error, SystemCallError, wait: 10, attempts: :unlimited

  def perform(id, to, message)
    SMS_BRIDGE.send_sms(id: id, to: to, message: message)
  end
end
