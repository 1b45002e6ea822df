################################################################################
#
# runnel-bin
#
################################################################################

RUNNEL_BIN_VERSION = 0.1.0
# Made by `boards/package prebuilt BOARD`.
RUNNEL_BIN_BOARD = $(strip \
	$(if $(BR2_mips),ar9344) \
	$(if $(BR2_mipsel),mt7621) \
	$(if $(BR2_ARM_CPU_ARMV6),rpi-zero) \
	$(if $(BR2_ARM_CPU_ARMV7A),imx6ull))
RUNNEL_BIN_SOURCE = runnel-$(RUNNEL_BIN_VERSION)-$(RUNNEL_BIN_BOARD).tar.gz
RUNNEL_BIN_SITE = $(BR2_EXTERNAL_RUNNEL_PATH)/../target/packages
RUNNEL_BIN_SITE_METHOD = file
RUNNEL_BIN_LICENSE = MIT
RUNNEL_BIN_LICENSE_FILES = LICENSE

define RUNNEL_BIN_USERS
	runnel -1 runnel -1 * /var/lib/runnel - - Live-streaming server
endef

define RUNNEL_BIN_PERMISSIONS
	/var/lib/runnel d 0755 runnel runnel - - - - -
endef

# S80runnel starts it in the background, where its standard error is /dev/null:
# the log goes to syslogd.
define RUNNEL_BIN_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/runnel $(TARGET_DIR)/usr/bin/runnel
	$(INSTALL) -D -m 0644 $(@D)/runnel.conf $(TARGET_DIR)/etc/runnel.conf
	$(SED) 's/^srs_log_tank console;/srs_log_tank syslog;/' \
		-e 's/log goes to standard error/log goes to syslogd/' \
		$(TARGET_DIR)/etc/runnel.conf
	$(INSTALL) -d -m 0755 $(TARGET_DIR)/var/lib/runnel
endef

define RUNNEL_BIN_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(RUNNEL_BIN_PKGDIR)/../runnel/S80runnel \
		$(TARGET_DIR)/etc/init.d/S80runnel
endef

$(eval $(generic-package))
